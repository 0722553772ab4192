"""Everything that can be asked, over HTTP, against brute force on a shop of which everything is known."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient

from hsnn.monitoring.health import Health
from hsnn.serving.api.app import Api, create_app
from hsnn.serving.config import ServingConfig
from hsnn.serving.metrics import ServingMetrics
from hsnn.serving.mirror.mirror import Mirror
from hsnn.serving.sync.follower import VERSION, WARM
from tests.serving.oracle import HOUR, boost_of, capped, meets

BRANDS = ("acme", "zenith", "nadir")
PATHS = ("shoes", "shoes/men", "shoes/men/boots", "shoes/women", "shirts/men", "shoestring")
MODES = ("beam", "exact", "exhaustive", "popularity", "popularity_filter", "latest")


class Shop:
    """A mirror of 72 items in six nodes, a client of its server, and the facts of its items."""

    def __init__(self, plant: Any, **config: Any) -> None:
        self.plant, mirror = plant, Mirror()
        for number in range(72):
            features: dict[str, Any] = {"brand": BRANDS[number % 3], "price": number * 1.5, "title": f"no. {number}"}
            if number % 4:
                features["path"] = PATHS[number % 6]
            if number % 5 == 0:
                features["tags"] = ["sale", f"t{number % 7}"]
            if number % 2:
                features["released"] = f"2026-01-{1 + number % 28:02}"
            if number % 9 == 0:
                features["sizes"] = [number, 500 + number]
            ends = plant.now + 50 * HOUR if number % 8 == 0 else 0
            plant.add(f"i{number}", number % 6, expires_at=ends, **features)
            plant.now += HOUR // 8
        for user, items in (("ann", (1, 7, 13)), ("bob", (2, 8)), ("eve", (3, 9, 15, 21))):
            for number in items:
                plant.engage(user, f"i{number}")
        plant.load(mirror)
        self.config = {"beam": 6, "budget": 200} | config
        self.api = Api(mirror, ServingConfig(**self.config), ServingMetrics())
        self.client = TestClient(create_app(self.api, self.api._metrics, Health(VERSION, WARM)))
        self.items = {name: self._facts(row) for row, name in enumerate(plant.ids)}

    def _facts(self, row: int) -> dict[str, Any]:
        plant = self.plant
        times = {"$first_seen": int(plant.states.first[row]), "$last_engaged": int(plant.states.last[row])}
        ends = {"$expires_at": plant.expires[row] or None}
        return plant.features[row] | times | ends | {"$node": plant.nodes[row]}

    def post(self, path: str, status: int = 200, headers: dict[str, str] | None = None, **body: Any) -> dict[str, Any]:
        response = self.client.post(path, json=body, headers=headers)
        assert response.status_code == status, response.text
        answer: dict[str, Any] = response.json()
        return answer

    def ask(self, **body: Any) -> dict[str, Any]:
        return self.post("/v1/retrieve", **({"user": "nobody", "k": 100} | body))

    def ranking(self, **body: Any) -> dict[str, float]:
        """All items with their scores, without any filter, best first."""
        answer = self.ask(mode="exhaustive", **body)
        return dict(zip(answer["items"], answer["scores"], strict=True))


@pytest.fixture
def shop(fresh_plant) -> Shop:
    fresh_plant.idle_ms = None
    return Shop(fresh_plant)


CONDITIONS: list[dict[str, Any]] = [
    {"field": "brand", "equal": "acme"},
    {"field": "brand", "in": ["acme", "nadir", "unheard of"]},
    {"field": "brand", "not": "acme"},
    {"field": "tags", "not": ["sale", "t3"]},
    {"field": "tags", "equal": "sale"},
    {"field": "price", "range": {"gte": 12, "lt": 30}},
    {"field": "price", "range": {"gt": 12, "lte": 30.0}},
    {"field": "sizes", "range": {"gte": 501, "lte": 530}},
    {"field": "released", "range": {"gte": "2026-01-05", "lt": "2026-01-20T00:00:00"}},
    {"field": "path", "prefix": "shoes"},
    {"field": "path", "prefix": "shoes/men"},
    {"field": "path", "has": True},
    {"field": "path", "has": False},
    {"field": "$expires_at", "has": True},
    {"field": "$first_seen", "range": {"gt": 1_700_000_000_000 + 5 * HOUR}},
    {"any": [{"field": "brand", "equal": "nadir"}, {"field": "price", "range": {"lt": 9}}]},
    {"all": [{"field": "brand", "equal": "nadir"}, {"field": "path", "prefix": "shoes"}]},
    {"none": [{"field": "brand", "equal": "nadir"}, {"field": "tags", "has": True}]},
    {
        "any": [
            {"all": [{"field": "brand", "not": "acme"}, {"none": [{"field": "path", "has": False}]}]},
            {"all": [{"field": "tags", "equal": "t5"}, {"any": []}]},
        ]
    },
    {"all": []},
]


@pytest.mark.parametrize("condition", CONDITIONS, ids=json.dumps)
def test_conditions_pass_what_brute_force_passes_in_the_order_of_the_scores(shop, condition):
    expected = [name for name in shop.ranking() if meets(condition, shop.items[name])]
    assert shop.ask(mode="exhaustive", filters={"where": condition})["items"] == expected
    answer = shop.ask(filters={"where": condition})
    assert answer["items"] == expected
    assert answer["stats"]["missing"] == 100 - len(expected)
    assert answer["stats"]["allowed"] == len(expected)


@pytest.mark.parametrize("mode", MODES)
def test_every_mode_filters_the_same(shop, mode):
    condition = CONDITIONS[18]
    expected = {name for name, item in shop.items.items() if meets(condition, item)}
    assert set(shop.ask(mode=mode, filters={"where": condition})["items"]) == expected


def test_conditions_follow_items_that_change(shop):
    condition = {"any": [{"field": "price", "range": {"lt": 9}}, {"field": "path", "prefix": "hats"}]}
    before = shop.ask(filters={"where": condition})["items"]
    shop.plant.features[50] = {"price": [900, 3], "path": "hats/red"}
    shop.plant.features[0] = {"price": 1000}
    for row in (0, 50):
        shop.api._mirror.apply_delta(shop.plant.insert(row, "changed"))
    assert set(shop.ask(filters={"where": condition})["items"]) == {*before, "i50"} - {"i0"}


@pytest.mark.slow
def test_lists_of_a_hundred_thousand_ids(shop):
    far = [f"other{number}" for number in range(99_990)]
    listed = [f"i{number}" for number in range(10)]
    assert set(shop.ask(filters={"items": far + listed})["items"]) == set(listed)
    assert set(shop.ask(filters={"exclude": far + listed})["items"]) == shop.items.keys() - set(listed)
    refused = shop.post("/v1/retrieve", 422, user="u", filters={"items": [*far, *range(11)]})
    assert "100000" in refused["detail"]


def test_what_will_have_expired_is_left_out_on_demand(shop):
    later = shop.plant.now + 60 * HOUR
    lasting = {name for name, item in shop.items.items() if item["$expires_at"] is None}
    assert set(shop.ask(filters={"available_at": later})["items"]) == lasting
    assert set(shop.ask(filters={"available_at": "now"})["items"]) == lasting  # the shop is of the year 2023
    assert set(shop.ask()["items"]) == shop.items.keys()


def test_the_seen_rule_may_be_that_of_the_request(shop):
    queries = [
        {"user": "ann", "k": 100, "seen": rule}
        for rule in (
            {"rule": "nothing"},
            {"rule": "seen"},
            {"rule": "recent", "items": 1, "minutes": 0},
            {"rule": "nothing"},
        )
    ]
    answers = shop.post("/v1/retrieve_many", queries=queries)["answers"]
    left_out = [shop.items.keys() - set(answer["items"]) for answer in answers]
    assert left_out == [set(), {"i1", "i7", "i13"}, {"i13"}, set()]


BOOSTS: list[list[dict[str, Any]]] = [
    [{"add": 3.5, "where": {"field": "brand", "equal": "zenith"}}],
    [
        {"add": -2, "where": {"field": "price", "range": {"gte": 40}}},
        {"add": 1, "where": {"field": "tags", "has": True}},
    ],
    [{"add": 5, "recency": {"half_life_hours": 2}}],
    [{"add": 50, "recency": {"half_life_hours": 48, "field": "released"}, "where": {"field": "brand", "not": "acme"}}],
]


@pytest.mark.parametrize("boosts", BOOSTS, ids=json.dumps)
@pytest.mark.parametrize("mode", ["beam", "exact", "exhaustive", "popularity_filter"])
def test_boosts_are_added_to_the_scores(shop, mode, boosts):
    plain, now = shop.ranking(), shop.plant.now
    answer = shop.ask(mode=mode, boosts=boosts)
    expected = {name: score + boost_of(boosts, shop.items[name], now) for name, score in plain.items()}
    assert dict(zip(answer["items"], answer["scores"], strict=True)) == pytest.approx(expected, abs=1e-4)
    assert answer["scores"] == sorted(answer["scores"], reverse=True)


def test_a_boosted_item_is_found_outside_of_the_beam_and_beyond_the_budget(fresh_plant):
    fresh_plant.idle_ms = None
    narrow = Shop(fresh_plant, beam=1, budget=3)
    boosts = [{"add": 30, "where": {"field": "title", "in": ["no. 4", "no. 5", "no. 46"]}}]
    for mode in ("beam", "popularity_filter"):
        assert set(narrow.ask(user="ann", k=3, mode=mode, boosts=boosts)["items"]) == {"i4", "i5", "i46"}


def test_popularity_is_boosted_by_a_factor(shop):
    plain = shop.ask(mode="popularity", k=9)
    boosts = [{"add": float(np.log(1000)), "where": {"field": "title", "equal": "no. 2"}}]
    boosted = shop.ask(mode="popularity", k=9, boosts=boosts)
    assert boosted["items"][0] == "i2"
    assert boosted["scores"][0] == pytest.approx(1000 * plain["scores"][plain["items"].index("i2")], rel=1e-4)


CAPS: list[list[dict[str, Any]]] = [
    [{"field": "brand", "most": 4}],
    [{"field": "$node", "most": 2}],
    [{"field": "brand", "most": 5}, {"field": "$node", "most": 3}],
    [{"field": "tags", "most": 1}],
]


@pytest.mark.parametrize("caps", CAPS, ids=json.dumps)
@pytest.mark.parametrize(("mode", "budget"), [("beam", 200), ("exhaustive", 7), ("exact", 7), ("latest", 7)])
def test_caps_give_what_a_walk_over_the_whole_ranking_gives(fresh_plant, caps, mode, budget):
    fresh_plant.idle_ms = None
    shop = Shop(fresh_plant, budget=budget)
    ranking = shop.ask(mode=mode if mode == "latest" else "exhaustive")["items"]
    with_node = {name: item | {"$node": [item["$node"]]} for name, item in shop.items.items()}
    answer = shop.ask(k=10, mode=mode, caps=caps)
    assert answer["items"] == capped(ranking, with_node, caps, 10)


@pytest.mark.parametrize("share", [0.0, 0.25, 0.5, 1.0])
@pytest.mark.parametrize("mode", ["beam", "exhaustive"])
def test_a_share_for_new_items(shop, mode, share):
    ranking, since = list(shop.ranking(user="bob")), shop.plant.now - 2 * HOUR
    new = [name for name in ranking if shop.items[name]["$first_seen"] >= since]
    assert 0 < len(new) < 20
    found = shop.ask(user="bob", k=20, mode=mode, new_items={"share": share, "max_age_hours": 2})["items"]
    wanted = min(int(np.ceil(share * 20)), len(new))
    best = ranking[:20]
    missing = max(wanted - len(set(best) & set(new)), 0)
    others = [name for name in best if name not in new]
    expected = {*best, *[name for name in new if name not in best][:missing]} - set(others[len(others) - missing :])
    assert set(found) == expected
    assert found == sorted(found, key=ranking.index)


@pytest.mark.slow
def test_draws_are_repeatable_and_have_the_propensities_of_a_softmax(shop):
    ranking = shop.ranking()
    query = {"k": 3, "sampling": {"temperature": 2.0, "pool": 5}}
    first = Counter()
    for number in range(300):
        headers = {"X-Request-Id": f"call-{number}"}
        answer = shop.post("/v1/retrieve", headers=headers, user="nobody", **query)
        left = {name: score / 2 for name, score in list(ranking.items())[:5]}
        for name, propensity in zip(answer["items"], answer["propensities"], strict=True):
            assert propensity == pytest.approx(np.exp(left[name]) / sum(np.exp(list(left.values()))), abs=1e-5)
            del left[name]
        first[answer["items"][0]] += 1
        if number == 0:
            assert shop.post("/v1/retrieve", headers=headers, user="nobody", **query)["items"] == answer["items"]
    odds = np.exp(np.array(list(ranking.values())[:5]) / 2)
    for name, chance in zip(ranking, odds / odds.sum(), strict=False):
        assert abs(first[name] / 300 - chance) < 4 * np.sqrt(chance / 300)


def test_draws_respect_caps_and_are_logged(fresh_plant, tmp_path):
    fresh_plant.idle_ms = None
    shop = Shop(fresh_plant, answer_log=tmp_path / "log.jsonl")
    sampling = {"temperature": 5.0}
    answer = shop.ask(k=9, caps=[{"field": "brand", "most": 3}], sampling=sampling)
    assert Counter(shop.items[name]["brand"] for name in answer["items"]) == dict.fromkeys(BRANDS, 3)
    (line,) = (json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines())
    assert line["propensities"] == answer["propensities"]
    assert all(0 < value <= 1 for value in answer["propensities"])


def test_fields_and_the_query_come_back_on_demand(shop):
    answer = shop.ask(user="ann", k=4, fields=["title", "tags"], echo=True)
    for name, shown in zip(answer["items"], answer["features"], strict=True):
        assert shown == {key: shop.items[name][key] for key in ("title", "tags") if key in shop.items[name]}
    assert shop.ask(k=1, fields=["*"])["features"][0].keys() >= {"brand", "price", "title"}
    query = answer["query"]
    assert (query["mode"], query["k"], query["as_of"], query["beam"], query["budget"]) == (
        "beam",
        4,
        shop.plant.now,
        6,
        200,
    )
    assert query["seen"] == {"rule": "recent", "items": 10, "minutes": 30.0}
    assert not {"features", "query", "propensities", "reasons", "why_not"} & shop.ask().keys()


@pytest.mark.parametrize(
    ("body", "names"),
    [
        (
            {"filters": {"where": {"field": "colour", "equal": "red"}}},
            "brand, path, price, released, sizes, tags, title",
        ),
        ({"boosts": [{"add": 1, "where": {"field": "colour", "has": True}}]}, "brand, path"),
        ({"boosts": [{"add": 1, "recency": {"half_life_hours": 1, "field": "colour"}}]}, "$first_seen"),
        ({"caps": [{"field": "colour", "most": 1}]}, "$node"),
        ({"fields": ["colour"]}, "title"),
        ({"filters": {"where": {"fild": "brand"}}}, "field, equal, in, not, range, prefix"),
        ({"filters": {"where": {"field": "brand"}}}, "one of equal, in, not, range, prefix, has"),
        ({"filters": {"where": {"field": "price", "range": {"gte": 1, "gt": 2}}}}, "one of gte and gt"),
        ({"filters": {"where": {"field": "price", "range": {"gte": "cheap"}}}}, "neither a number nor a time"),
        ({"filters": {"where": {"field": "$last_engaged", "equal": 3}}}, "may have a range"),
        ({"filters": {"where": {"any": [{"all": []}] * 200}}}, "the most is 128"),
        ({"sampling": {"temperature": 0}}, "0.001"),
        ({"seen": {"rule": "all"}}, "Invalid enum value"),
        ({"mode": "latest", "sampling": {"temperature": 1}}, "another mode"),
        ({"caps": [{"field": "brand", "most": 0}]}, "most"),
    ],
)
def test_what_cannot_be_asked_is_refused_with_what_can(shop, body, names):
    refused = shop.client.post("/v1/retrieve", json={"user": "u", **body})
    assert refused.status_code == 422
    assert refused.headers["content-type"] == "application/problem+json"
    problem = refused.json()
    assert problem.keys() == {"type", "title", "status", "detail", "error"}
    assert (problem["type"], problem["status"]) == ("urn:hsnn:request", 422)
    assert names in problem["detail"] == problem["error"]


def test_popular_and_latest_lists_are_filtered_as_all_is(shop):
    where = {"field": "brand", "equal": "zenith"}
    latest = shop.post("/v1/latest", k=100, filters={"where": where})
    expected = sorted(
        (name for name, item in shop.items.items() if item["brand"] == "zenith"),
        key=lambda name: -shop.items[name]["$first_seen"],
    )
    assert latest["items"] == expected
    assert latest["scores"] == [shop.items[name]["$first_seen"] for name in expected]
    popular = shop.post("/v1/popular", k=100, filters={"where": where})
    assert set(popular["items"]) == set(expected)
    assert popular["scores"] == sorted(popular["scores"], reverse=True)
    assert set(shop.post("/v1/popular", k=100, user="ann")["items"]) == shop.items.keys() - {"i1", "i7", "i13"}


def test_similar_items_by_their_vectors(shop):
    vectors = np.array(shop.plant.vectors)[:, :-1]
    directions = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    center = directions[[4, 10]].mean(0)
    cosines = directions @ (center / np.linalg.norm(center))
    allowed = [row for row in range(72) if row not in (4, 10) and shop.plant.features[row]["brand"] != "acme"]
    expected = sorted(allowed, key=lambda row: -cosines[row])[:12]
    where = {"field": "brand", "not": "acme"}
    answer = shop.post("/v1/similar", items=["i4", "i10", "unheard of"], k=12, by="model", filters={"where": where})
    assert answer["items"] == [f"i{row}" for row in expected]
    assert answer["scores"] == pytest.approx(cosines[expected].tolist(), abs=1e-5)
    assert answer["stats"]["certified"]
    refused = shop.post("/v1/similar", 422, items=["unheard of"])
    assert "none of the given items" in refused["detail"]
    assert "no evidence" in shop.post("/v1/similar", 422, items=["i4"], by="evidence")["detail"]


def test_similar_items_by_what_users_engage_with(new_plant):
    plant = new_plant(pair_features=True)
    plant.idle_ms = None
    shop = Shop(plant)
    answer = shop.post("/v1/similar", items=["i9"], by="evidence", k=50, explain=True)
    assert set(answer["items"]) == {"i3", "i15", "i21"}  # what eve had
    pairs, row = plant.pairs, 9
    decay = 0.5 ** ((plant.now - pairs.last[row]) / np.array([HOUR, 30 * 24 * HOUR]))
    neighbours, weights = pairs.neighbours[row], pairs.weights[row] * decay[:, None]
    shares = weights / (1 + pairs.totals[row] * decay)[:, None]
    for name, score, reason in zip(answer["items"], answer["scores"], answer["reasons"], strict=True):
        assert score == pytest.approx(shares[neighbours == int(name[1:])].max(), rel=0.05)
        assert reason["history"] == {"i9": pytest.approx(score, abs=1e-3)}
    both = shop.post("/v1/similar", items=["i9"], user="eve", k=100)
    assert not {"i3", "i9", "i15", "i21"} & set(both["items"])


def test_users_have_a_history_and_what_they_have_seen(shop):
    found = shop.client.get("/v1/users/ann").json()
    assert [past["item"] for past in found["history"]] == ["i1", "i7", "i13"]
    assert [past["item"] for past in found["remembered"]] == ["i1", "i7", "i13"]
    assert set(found["seen"]) == {"i1", "i7", "i13"}
    missing = shop.client.get("/v1/users/zoe")
    assert (missing.status_code, missing.json()["type"]) == (404, "urn:hsnn:unknown-id")


def test_answers_that_are_short_say_so_and_are_counted(shop):
    answer = shop.ask(k=50, filters={"where": {"field": "brand", "equal": "acme"}})
    assert (answer["stats"]["missing"], answer["stats"]["allowed"]) == (26, 24)
    full = shop.ask(k=5)["stats"]
    assert (full["missing"], full["allowed"]) == (0, None)
    assert 'hsnn_answers_underfilled_total{mode="beam"} 1.0' in shop.client.get("/metrics").text


def test_many_queries_have_all_of_it(shop):
    query = {"user": "ann", "k": 6, "caps": [{"field": "brand", "most": 2}], "boosts": BOOSTS[0], "fields": ["brand"]}
    alone = shop.post("/v1/retrieve", **query)
    (first, second) = shop.post("/v1/retrieve_many", queries=[{"user": "x"}, query])["answers"][:2]
    assert len(first["items"]) == 20
    for name in ("items", "scores", "features"):
        assert second[name] == alone[name]
