"""Two indexes in one server: users are split over them, and each question about a user goes to the user's."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from hsnn.monitoring.health import Health
from hsnn.serving.api.app import Api, create_app
from hsnn.serving.config import ServingConfig
from hsnn.serving.metrics import ServingMetrics
from hsnn.serving.mirror.mirror import Mirror
from hsnn.serving.sync.arm_index import ArmIndex
from hsnn.serving.sync.follower import VERSION, WARM
from hsnn.serving.sync.indexes import Indexes
from hsnn.serving.sync.warm_up import warm_up
from tests.serving.challenger import ARMS, PREFIX, fill
from tests.waiting import wait_until

USERS = [f"u{number}" for number in range(6)]


class Server:
    """A server in this process that follows two indexes; what it counted and logged."""

    def __init__(self, own: Mirror, other: Mirror | None, log: Path | None = None, arms: object = ARMS) -> None:
        config = ServingConfig.model_validate({"experiment": {"name": "two", "arms": arms}, "answer_log": log})
        others = {} if other is None else {PREFIX: ArmIndex(PREFIX, own, other, stale_after=600.0)}
        self.metrics, self._log = ServingMetrics(), log
        self.api = Api(own, config, self.metrics, indexes=Indexes(own, others))
        self.client = TestClient(create_app(self.api, self.metrics, Health(VERSION, WARM)))

    def ask(self, path: str = "retrieve", **query: object) -> dict:
        response = self.client.post(f"/v1/{path}", json=query)
        assert response.status_code == 200, response.text
        return response.json()

    def value(self, name: str, **labels: str) -> float:
        return self.metrics.registry.get_sample_value(name, labels) or 0.0

    def logged(self) -> list[dict]:
        assert self._log is not None
        return [json.loads(line) for line in self._log.read_text().splitlines()]


@pytest.fixture
def other(new_plant) -> Mirror:
    mirror = Mirror()
    fill(new_plant()).load(mirror)
    warm_up(mirror)
    return mirror


@pytest.fixture
def server(mirror, other, tmp_path) -> Server:
    return Server(mirror, other, tmp_path / "answers.jsonl")


def cluster_of(user: str, index: str) -> str:
    """Items that an index recommends to a user are of this cluster."""
    return f"c{(int(user[1:]) + (3 if index == PREFIX else 0)) % 6}-"


def test_every_user_is_answered_by_the_index_of_the_arm_and_the_answer_says_so(server):
    answers = {user: server.ask(user=user, k=5, explain=True) for user in USERS}
    assert {(answer["arm"], answer["index"]) for answer in answers.values()} == {("own", "hsnn"), ("other", PREFIX)}
    many = server.ask("retrieve_many", queries=[{"user": user, "k": 5} for user in USERS])["answers"]
    for user, also in zip(USERS, many, strict=True):
        answer = answers[user]
        assert all(item.startswith(cluster_of(user, answer["index"])) for item in answer["items"])
        assert len(answer["reasons"]) == 5
        assert (also["items"], also["arm"], also["index"]) == (answer["items"], answer["arm"], answer["index"])
    for arm in ("own", "other"):
        given = 2 * sum(answer["arm"] == arm for answer in answers.values())
        assert server.value("hsnn_arm_seconds_count", arm=arm, role="served") == given
        assert (
            sum((line["arm"], line["index"]) == (arm, ARMS[arm].get("prefix", "hsnn")) for line in server.logged())
            == given
        )


def test_what_is_asked_about_a_user_goes_to_the_users_index(server):
    for user in USERS:
        index = server.ask(user=user)["index"]
        seen = server.client.get(f"/v1/users/{user}").json()["history"]
        assert all(past["item"].startswith(cluster_of(user, index)) for past in seen)
        like = server.ask("similar", items=[f"{cluster_of(user, index)}9"], user=user, k=9)
        assert like["index"] == index
        assert not {past["item"] for past in seen} & set(like["items"])
    assert server.ask("similar", items=["c0-1"])["index"] == "hsnn"
    for mode in ("popular", "latest"):
        assert server.ask(mode, user="u0")["index"] == "hsnn"


@pytest.mark.parametrize("index", ["hsnn", PREFIX])
def test_a_question_may_name_its_index_and_counts_for_no_arm(server, index):
    for user in USERS:
        for query in ({}, {"mode": "exhaustive"}):
            answer = server.ask(user=user, k=5, index=index, **query)
            assert all(item.startswith(cluster_of(user, index)) for item in answer["items"])
            assert (answer["index"], "arm" in answer) == (index, False)
    assert server.ask("similar", items=["c0-1"], index=index)["index"] == index
    assert server.value("hsnn_arm_seconds_count", arm="other", role="served") == 0
    refused = server.client.post("/v1/retrieve", json={"user": "u0", "index": "nobody"})
    assert (refused.status_code, "known: hsnn, challenger" in refused.json()["detail"]) == (422, True)


def test_an_index_that_is_missing_is_replaced_by_the_servers_own_and_that_is_counted(mirror, tmp_path):
    server, late = Server(mirror, Mirror(), tmp_path / "answers.jsonl"), 0
    for user in USERS:
        answer = server.ask(user=user, k=5)
        assert answer["index"] == "hsnn"
        assert all(item.startswith(cluster_of(user, "hsnn")) for item in answer["items"])
        assert server.client.get(f"/v1/users/{user}").status_code == 200
        late += answer["arm"] == "other"
    assert 0 < late < len(USERS)
    assert server.value("hsnn_arm_fallbacks_total", arm="other", reason="missing") == late
    assert sum((line["arm"], line["index"]) == ("other", "hsnn") for line in server.logged()) == late
    named = server.client.post("/v1/retrieve", json={"user": "u0", "index": PREFIX})
    assert named.status_code == 503


def test_a_shadow_answers_from_its_index_and_not_in_the_place_of_it(mirror, other, tmp_path):
    arms = {"own": {"share": 1}, "other": {"shadow": 1, "prefix": PREFIX}}
    server = Server(mirror, other, tmp_path / "answers.jsonl", arms)
    given = server.ask(user="u0", k=5)
    wait_until(lambda: len(server.logged()) == 2)
    shadow = next(line for line in server.logged() if line["shadow"])
    assert (shadow["arm"], shadow["index"]) == ("other", PREFIX)
    assert all(item.startswith("c3-") for item in shadow["items"])
    assert all(item.startswith("c0-") for item in given["items"])
    assert server.value("hsnn_shadow_items_total", arm="other", items="other") == 5
    missing = Server(mirror, Mirror(), arms=arms)
    missing.ask(user="u0")
    wait_until(lambda: missing.value("hsnn_shadows_passed_over_total", arm="other", reason="not_ready") == 1)


def test_a_server_of_one_index_answers_byte_for_byte_as_before(mirror, tmp_path):
    """Its answers and lines of the log have no field more, and its own index may be named."""
    server = Server(mirror, None, tmp_path / "answers.jsonl", arms={"all": {"share": 1}})
    plain = server.ask(user="u0", k=5)
    assert list(plain) == ["items", "scores", "version", "as_of", "stats", "recommendation_id", "arm"]
    named = server.ask(user="u0", k=5, index="hsnn")
    assert list(named) == ["items", "scores", "version", "as_of", "stats", "recommendation_id"]
    assert (named["items"], named["scores"]) == (plain["items"], plain["scores"])
    assert all("index" not in line for line in server.logged())
    assert server.client.post("/v1/retrieve", json={"user": "u0", "index": PREFIX}).status_code == 422
