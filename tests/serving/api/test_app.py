from __future__ import annotations

import json

import pytest
from fastapi.testclient import TestClient
from prometheus_client.parser import text_string_to_metric_families

from hsnn.monitoring.health import Health
from hsnn.serving.api.app import Api, create_app
from hsnn.serving.config import ServingConfig
from hsnn.serving.metrics import ServingMetrics
from hsnn.serving.mirror.mirror import Mirror
from hsnn.serving.sync.follower import LOOP, VERSION, WARM


def serve(mirror: Mirror, token: str | None = None, health: Health | None = None, **config) -> TestClient:
    metrics, freshness = ServingMetrics(), {}
    api = Api(mirror, ServingConfig(**config), metrics, token, freshness)
    freshness["c0-1"] = 0.25  # what is given fills while the server runs
    return TestClient(create_app(api, metrics, health or Health(VERSION, WARM)))


@pytest.fixture
def client(mirror) -> TestClient:
    return serve(mirror)


def test_retrieve(client, plant):
    response = client.post("/v1/retrieve", json={"user": "u0", "k": 7})
    assert response.status_code == 200
    assert response.headers["content-type"] == "application/json"
    answer = response.json()
    assert set(answer["items"]) == {f"c0-{number}" for number in range(3, 10)}
    assert len(answer["scores"]) == 7
    assert (answer["version"], answer["as_of"]) == (1, plant.now)
    assert answer["stats"].keys() == {
        "scored",
        "candidates",
        "nodes",
        "corpus",
        "certified",
        "scored_share",
        "evaluations",
        "dots",
        "sources",
        "took_ms",
    }


def test_retrieve_many_answers_in_order(client):
    history = [["c4-0", 1_700_000_000_000], "c4-1"]
    queries = [
        {"user": "u1", "k": 3},
        {"user": "x", "k": 2, "history": history},
        {"user": "u2", "mode": "popularity"},
    ] * 50
    answers = client.post("/v1/retrieve_many", json={"queries": queries}).json()["answers"]
    assert len(answers) == 150
    assert all(item.startswith("c1-") for item in answers[147]["items"])
    assert all(item.startswith("c4-") for item in answers[148]["items"])
    assert len(answers[149]["items"]) == 20


@pytest.mark.parametrize(
    ("body", "names"),
    [
        ({"user": "u", "mode": "fancy"}, "beam, exact, exhaustive, popularity"),
        ({"user": "u", "filters": {"colour": ["red"]}}, "items, exclude, features"),
        ({"user": "u", "filters": {"features": {"colour": ["red"]}}}, "parity, tags, topic"),
        ({"user": "u", "many": 3}, "user, k, mode, filters, history, context, as_of"),
        ({"user": "u", "k": 0}, "k"),
        ({"user": "u", "k": 100_000}, "1000"),
        ({"k": 3}, "user"),
        ([], "object"),
    ],
)
@pytest.mark.parametrize("many", [False, True])
def test_refusals_name_what_is_known(client, body, names, many):
    if many:
        response = client.post("/v1/retrieve_many", json={"queries": [{"user": "u"}, body]})
    else:
        response = client.post("/v1/retrieve", json=body)
    assert response.status_code == 422
    assert names in response.json()["error"]


def test_a_body_that_is_no_json_is_refused(client):
    assert client.post("/v1/retrieve", content=b"{oops").status_code == 422
    assert client.post("/v1/retrieve", content=b"\xff\xfe").status_code == 422


def test_before_the_first_version_there_are_words():
    client = serve(Mirror())
    for response in (
        client.post("/v1/retrieve", json={"user": "u"}),
        client.post("/v1/retrieve_many", json={"queries": [{"user": "u"}]}),
        client.get("/v1/version"),
        client.get("/v1/items/a"),
    ):
        assert response.status_code == 503
        assert "no version" in response.json()["error"]


def test_token(mirror):
    client = serve(mirror, token="a secret")
    for path, call in (("/v1/retrieve", client.post), ("/v1/retrieve_many", client.post), ("/v1/version", client.get)):
        for headers in ({}, {"Authorization": "Bearer another"}, {"Authorization": "a secret"}):
            response = call(path, headers=headers)
            assert response.status_code == 401
            assert "secret" not in response.text
    good = {"Authorization": "Bearer a secret"}
    assert client.post("/v1/retrieve", json={"user": "u"}, headers=good).status_code == 200
    assert client.get("/healthz/live").status_code == 200


def test_limits_of_the_configuration(mirror):
    client = serve(mirror, k=3, max_k=5, max_queries=2, max_body=300, budget=4)
    assert len(client.post("/v1/retrieve", json={"user": "u"}).json()["items"]) == 3
    assert client.post("/v1/retrieve", json={"user": "u", "k": 6}).status_code == 422
    assert client.post("/v1/retrieve_many", json={"queries": [{"user": "u"}] * 3}).status_code == 422
    assert client.post("/v1/retrieve", json={"user": "u" * 300}).status_code == 413
    assert client.post("/v1/retrieve", json={"user": "u"}).json()["stats"]["scored"] == 4


def test_a_call_beyond_the_deadline_is_given_up(mirror):
    response = serve(mirror, deadline="1ms").post("/v1/retrieve_many", json={"queries": [{"user": "u"}] * 3000})
    assert response.status_code == 504
    assert "send fewer" in response.json()["error"]


def test_version(client, plant):
    found = client.get("/v1/version").json()
    assert (found["version"], found["epoch"], found["items"], found["nodes"]) == (1, 1, 60, 6)
    assert found["watermark"] == plant.now


def test_items(client, plant):
    found = client.get("/v1/items/c0-1").json()
    assert found["indexed"]
    assert found["retrievable"]
    assert (found["node"], found["fresh_seconds"], found["features"]["topic"]) == (0, 0.25, "c0")
    assert found["state"]["counts"]["2400h"] == pytest.approx(1.0, abs=1e-3)
    missing = client.get("/v1/items/un/known")
    assert missing.status_code == 404
    assert "un/known" in missing.json()["error"]


def test_deleted_items_say_so(client, plant, mirror):
    mirror.apply_delta(plant.delete(1))
    found = client.get("/v1/items/c0-1").json()
    assert (found["indexed"], found["retrievable"], found["deleted"], found["node"]) == (False, False, True, None)


def test_answer_log_holds_every_answer(mirror, tmp_path, plant):
    path = tmp_path / "logs" / "answers.jsonl"
    client = serve(mirror, answer_log=path)
    one = client.post("/v1/retrieve", json={"user": 7, "k": 2}).json()
    client.post("/v1/retrieve_many", json={"queries": [{"user": "a", "mode": "popularity"}, {"user": "b"}]})
    client.post("/v1/retrieve", json={"user": 7, "mode": "fancy"})
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [(line["user"], line["mode"]) for line in lines] == [("7", "beam"), ("a", "popularity"), ("b", "beam")]
    assert lines[0].keys() == {"t", "user", "mode", "as_of", "version", "items"}
    assert (lines[0]["items"], lines[0]["as_of"]) == (one["items"], plant.now)


def test_health_pages(mirror):
    now = 0.0
    health = Health(VERSION, WARM, clock=lambda: now)
    health.expect(LOOP, within=30)
    client = serve(mirror, health=health)
    assert client.get("/healthz/live").status_code == 200
    assert client.get("/healthz/ready").status_code == 503
    health.set_ready(VERSION)
    assert client.get("/healthz/ready").status_code == 503
    health.set_ready(WARM)
    assert client.get("/healthz/ready").json() == {"ok": True, "detail": {"version": True, "warm_up": True}}
    now = 31.0
    assert client.get("/healthz/live").status_code == 503


def test_metrics(client):
    client.post("/v1/retrieve", json={"user": "u0"})
    client.post("/v1/retrieve", json={"user": "u0", "mode": "fancy"})
    families = {family.name: family for family in text_string_to_metric_families(client.get("/metrics").text)}
    counts = {(s.labels.get("status"), s.value) for s in families["hsnn_requests"].samples if s.name.endswith("_total")}
    assert counts == {("200", 1.0), ("422", 1.0)}
    scored = {s.name: s.value for s in families["hsnn_request_scored"].samples if s.labels.get("mode") == "beam"}
    assert (scored["hsnn_request_scored_count"], scored["hsnn_request_scored_sum"]) == (1.0, 12.0)
    dots = {s.name: s.value for s in families["hsnn_request_dots"].samples if s.labels.get("mode") == "beam"}
    assert (dots["hsnn_request_dots_count"], dots["hsnn_request_dots_sum"]) == (1.0, 57.0)  # 60 items, 3 left out
    assert {"hsnn_request_seconds", "hsnn_freshness_seconds", "hsnn_index_version"} <= families.keys()


def test_scored_items_are_counted_by_their_source(new_plant):
    plant, mirror = new_plant(pair_features=True), Mirror()
    for number in range(60):
        plant.add(f"i{number}", number % 6)
    for user in ("one", "two"):
        for number in range(15):
            plant.engage(user, f"i{number}")
    plant.load(mirror)
    client = serve(mirror)
    queries = [{"user": "one"}, {"user": "one"}, {"user": "one", "mode": "popularity"}]
    answers = client.post("/v1/retrieve_many", json={"queries": queries}).json()["answers"]
    families = {family.name: family for family in text_string_to_metric_families(client.get("/metrics").text)}
    counted = {
        s.labels["source"]: s.value for s in families["hsnn_candidates"].samples if s.name == "hsnn_candidates_total"
    }
    sources = answers[0]["stats"]["sources"]
    assert counted == {source: 2 * count for source, count in sources.items()}
    assert sum(sources.values()) == answers[0]["stats"]["scored"]


def test_openapi_describes_the_bodies(client):
    paths = client.get("/openapi.json").json()["paths"]
    body = paths["/v1/retrieve"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert {"user", "k", "mode", "filters"} <= body["properties"].keys()
    assert "$ref" not in json.dumps(body)
