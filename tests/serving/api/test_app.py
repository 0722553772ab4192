from __future__ import annotations

import asyncio
import json
from urllib.parse import quote

import pytest
from fastapi.testclient import TestClient
from prometheus_client.parser import text_string_to_metric_families

from hsnn.monitoring.health import Health
from hsnn.monitoring.process.log_format import current_ids
from hsnn.serving.api import app
from hsnn.serving.api.access import Access, Token
from hsnn.serving.api.app import Api, create_app
from hsnn.serving.config import ServingConfig
from hsnn.serving.metrics import ServingMetrics
from hsnn.serving.mirror.mirror import Mirror
from hsnn.serving.sync.follower import LOOP, VERSION, WARM
from tests.waiting import wait_until


def serve(mirror: Mirror, token: str | None = None, health: Health | None = None, **config) -> TestClient:
    metrics, freshness = ServingMetrics(), {}
    tokens = {} if token is None else {"shop": Token(token, rate=50.0)}
    access = Access(tokens, clock=lambda: 100.0)  # a clock that stands, so that no rate depends on the machine
    api = Api(mirror, ServingConfig(**config), metrics, access, freshness)
    freshness["c0-1"] = 0.25  # what is given fills while the server runs
    return TestClient(create_app(api, metrics, health or Health(VERSION, WARM)))


def counted(client: TestClient) -> dict[tuple[str, str], float]:
    """Calls by endpoint and status, as the metrics say."""
    families = {family.name: family for family in text_string_to_metric_families(client.get("/metrics").text)}
    return {
        (sample.labels["endpoint"], sample.labels["status"]): sample.value
        for sample in families["hsnn_requests"].samples
        if sample.name.endswith("_total")
    }


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
    again = client.post("/v1/retrieve_many", json={"queries": [{"user": "u0", "k": 7}] * 2}).json()["answers"]
    assert len({answer["recommendation_id"], *(other["recommendation_id"] for other in again)} - {""}) == 3
    assert answer["stats"].keys() == {
        "scored",
        "candidates",
        "nodes",
        "corpus",
        "allowed",
        "missing",
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
        ({"user": "u", "many": 3}, "user, mode, history, context"),
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
    for deep in (b"[" * 100_000, b'{"user": "u", "context": ' + b'{"a":' * 50_000):
        assert client.post("/v1/retrieve", content=deep).status_code == 422


@pytest.mark.parametrize("text", ['{"user": "café"}', '{"user": "u", "filters": {"features": {"topic": ["é"]}}}'])
def test_a_body_that_is_not_utf_8_is_refused_with_a_sentence_and_counted(client, text):
    body = text.encode("latin-1")
    for path, content in (("/v1/retrieve", body), ("/v1/retrieve_many", b'{"queries": [' + body + b"]}")):
        refused = client.post(path, content=content)
        assert refused.status_code == 422
        assert "UTF-8" in refused.json()["error"]
    assert counted(client) == {("retrieve", "422"): 1.0, ("retrieve_many", "422"): 1.0}


def test_what_fails_inside_is_counted_and_logged_once(client, monkeypatch, caplog):
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("a fault")

    monkeypatch.setattr("hsnn.serving.api.app.retrieve", broken)
    failed = client.post("/v1/retrieve", json={"user": "u"})
    assert (failed.status_code, "its log says where" in failed.json()["error"]) == (500, True)
    assert counted(client) == {("retrieve", "500"): 1.0}
    assert [
        record.getMessage() for record in caplog.records if record.exc_info and record.name.startswith("hsnn.")
    ] == ["POST /v1/retrieve failed; the caller got status 500"]


def test_calls_that_no_route_takes_are_counted_and_answered_as_all_errors_are(client):
    assert "/openapi.json" in client.get("/v2/retrieve").json()["error"]
    wrong = client.get("/v1/retrieve")
    assert (wrong.status_code, wrong.headers["allow"]) == (405, "POST")
    assert counted(client) == {("none", "404"): 1.0, ("none", "405"): 1.0}


@pytest.mark.parametrize(
    "body",
    [
        {"user": "u", "mode": "x" * 2_000_000},
        {"user": "u", "filters": {"features": {"f" * 2_000_000: [1]}}},
        {"user": "u", "y" * 60_000: 1},
    ],
)
def test_error_texts_are_bounded_and_end_with_what_is_known(client, body):
    error = client.post("/v1/retrieve", json=body).json()["error"]
    assert len(error) <= 1000
    assert "known" in error[-500:]


def test_a_client_that_hangs_up_is_counted_and_leaves_no_trace_in_the_log(mirror, caplog):
    async def call() -> None:
        parts = [{"type": "http.request", "body": b'{"us', "more_body": True}, {"type": "http.disconnect"}]

        async def receive() -> dict:
            return parts.pop(0)

        async def send(message: dict) -> None:
            """Drop it: nobody reads it."""

        scope = {"type": "http", "method": "POST", "path": "/v1/retrieve", "headers": [], "query_string": b""}
        await client.app(scope, receive, send)

    client = serve(mirror)
    asyncio.run(call())
    assert counted(client) == {("retrieve", "499"): 1.0}
    assert not [record for record in caplog.records if record.name.startswith("hsnn.")]


def test_awkward_ids_are_found(new_plant):
    plant, mirror = new_plant(), Mirror()
    names = ("new\nline", "end\n", "a/b", " blank ", "50%", "a?b#c", "日本語", "x" * 256)
    for number, name in enumerate(names):
        plant.add(name, number % 6)
    plant.load(mirror)
    client = serve(mirror)
    for name in names:
        assert client.get(f"/v1/items/{quote(name, safe='')}").status_code == 200, name
    assert len(client.get(f"/v1/items/{'x' * 60_000}").json()["error"]) <= 1000


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
    for path, call in (
        ("/v1/retrieve", client.post),
        ("/v1/retrieve_many", client.post),
        ("/v1/version", client.get),
        ("/v1/items/c0-1", client.get),
        ("/openapi.json", client.get),
    ):
        for headers in ({}, {"Authorization": "Bearer another"}, {"Authorization": "a secret"}):
            response = call(path, headers=headers)
            assert response.status_code == 401
            assert "secret" not in response.text
    good = {"Authorization": "Bearer a secret"}
    assert client.post("/v1/retrieve", json={"user": "u"}, headers=good).status_code == 200
    assert client.get("/openapi.json", headers=good).status_code == 200
    assert client.get("/healthz/live").status_code == 200


def test_a_token_beyond_its_rate_waits(mirror):
    client, good = serve(mirror, token="s"), {"Authorization": "Bearer s"}
    queries = {"queries": [{"user": "u"}] * 200}
    assert client.post("/v1/retrieve_many", json=queries, headers=good).status_code == 200
    refused = client.post("/v1/retrieve", json={"user": "u"}, headers=good)
    assert refused.status_code == 429
    assert refused.headers["retry-after"] == "4"  # 151 queries too many, 50 a second
    assert "50 queries per second" in refused.json()["error"]


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
    assert "at once" in response.json()["error"]


def test_a_single_call_is_given_up_at_the_deadline_and_others_are_answered_meanwhile(mirror):
    client = serve(mirror, deadline="50ms")
    with mirror.reading():  # as a search of many seconds holds it
        for mode in ("beam", "exhaustive"):
            late = client.post("/v1/retrieve", json={"user": "u", "mode": mode})
            assert late.status_code == 504
            assert "serving.deadline" in late.json()["error"]
        assert client.get("/v1/version").status_code == 504
        assert client.get("/healthz/live").status_code == 200
    wait_until(lambda: client.post("/v1/retrieve", json={"user": "u"}).status_code == 200)  # in 50 ms, however busy


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
    assert lines[0].keys() == {"t", "request", "recommendation_id", "user", "mode", "as_of", "version", "items"}
    assert lines[0]["recommendation_id"] == one["recommendation_id"]
    assert lines[1]["request"] == lines[2]["request"] != lines[0]["request"]
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
    for page in ("/healthz/ready", "/healthz/live", "/metrics"):
        head = client.head(page)
        assert (head.status_code, head.content) == (200, b"")
    now = 31.0
    assert client.get("/healthz/live").status_code == 503
    assert client.head("/healthz/live").status_code == 503


def test_metrics(client):
    client.post("/v1/retrieve", json={"user": "u0"})
    client.post("/v1/retrieve", json={"user": "u0", "mode": "fancy"})
    families = {family.name: family for family in text_string_to_metric_families(client.get("/metrics").text)}
    counts = {(s.labels.get("status"), s.value) for s in families["hsnn_requests"].samples if s.name.endswith("_total")}
    assert counts == {("200", 1.0), ("422", 1.0)}
    scored = {s.name: s.value for s in families["hsnn_request_scored"].samples if s.labels.get("mode") == "beam"}
    assert (scored["hsnn_request_scored_count"], scored["hsnn_request_scored_sum"]) == (1.0, 25.0)
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
    document = client.get("/openapi.json").json()
    paths = document["paths"]
    assert paths["/v1/retrieve"]["post"]["requestBody"]["content"]["application/json"]["schema"] == {
        "$ref": "#/components/schemas/Request"
    }
    body = document["components"]["schemas"]["Request"]
    assert {"user", "k", "mode", "filters"} <= body["properties"].keys()


def test_a_request_id_is_kept_or_made_and_is_in_the_logs(mirror, tmp_path, monkeypatch):
    path, seen = tmp_path / "answers.jsonl", []
    client = serve(mirror, answer_log=path)
    given = client.post("/v1/retrieve", json={"user": "u"}, headers={"X-Request-Id": "edge-7/1"})
    assert given.headers["x-request-id"] == "edge-7/1"
    for forged in ('"}\\n{', "x" * 129, ""):
        made = client.post("/v1/retrieve", json={"user": "u"}, headers={"X-Request-Id": forged}).headers["x-request-id"]
        assert len(made) == 32
    assert json.loads(path.read_text().splitlines()[0])["request"] == "edge-7/1"
    many = app.retrieve
    monkeypatch.setattr(app, "retrieve", lambda *these, **named: seen.append(current_ids()) or many(*these, **named))
    client.post("/v1/retrieve_many", json={"queries": [{"user": "u"}]}, headers={"X-Request-Id": "edge-8"})
    assert seen == [{"request": "edge-8"}]


def test_arms_of_an_experiment_answer_their_users_as_they_are_set(mirror, tmp_path):
    log = tmp_path / "answers.jsonl"
    arms = {"narrow": {"share": 0.5, "budget": 20}, "all": {"share": 0.5, "mode": "exhaustive", "shadow": 1}}
    client = serve(mirror, experiment={"name": "first", "arms": arms}, answer_log=log)
    answers = [client.post("/v1/retrieve", json={"user": f"u{number}", "k": 5}).json() for number in range(8)]
    assert {answer["arm"] for answer in answers} == {"narrow", "all"}
    for answer in answers:
        assert (answer["stats"]["scored"] == 20) == (answer["arm"] == "narrow")
    many = client.post(
        "/v1/retrieve_many", json={"queries": [{"user": f"u{number}", "k": 5} for number in range(8)]}
    ).json()
    assert [(answer["arm"], answer["items"]) for answer in many["answers"]] == [
        (answer["arm"], answer["items"]) for answer in answers
    ]
    assert "arm" not in client.post("/v1/popular", json={}).json()
    narrow = sum(answer["arm"] == "narrow" for answer in answers)
    wait_until(lambda: len(log.read_text().splitlines()) == 17 + 2 * narrow)
    logged = [json.loads(line) for line in log.read_text().splitlines()]
    given = {line["recommendation_id"]: line for line in logged if not line.get("shadow")}
    assert [given[answer["recommendation_id"]]["arm"] for answer in answers] == [answer["arm"] for answer in answers]
    shadows = [line for line in logged if line.get("shadow")]
    assert {line["arm"] for line in shadows} == {"all"}
    assert {line["mode"] for line in shadows} == {"exhaustive"}
    assert all(not line["recommendation_id"] for line in shadows)
