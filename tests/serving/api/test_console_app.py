from __future__ import annotations

import asyncio
import json

import pytest
from fastapi.testclient import TestClient

from hsnn.indexer.config import IndexerConfig
from hsnn.indexer.store.publish_hold import current_hold
from hsnn.indexer.store.reader import IndexReader
from hsnn.monitoring.health import Health
from hsnn.serving.api.access import Access, Token
from hsnn.serving.api.app import Api, create_app
from hsnn.serving.api.console_app import ConsoleApi, add_console
from hsnn.serving.config import Scope, ServingConfig
from hsnn.serving.console.routes import Console
from hsnn.serving.metrics import ServingMetrics
from hsnn.serving.mirror.mirror import Mirror
from hsnn.streaming.config import StreamingConfig
from hsnn.streaming.dead_letters.writer import DeadLetter, DeadLetterWriter
from hsnn.streaming.log.open import open_log
from hsnn.streaming.log.records import Record
from hsnn.streaming.redis.keys import key

TOKENS = {
    "shop": Token("read", frozenset({Scope.READ})),
    "ops": Token("act", frozenset({Scope.READ, Scope.WRITE})),
}


def serve(redis, mirror, tokens=None, *, log="redis://127.0.0.1:1/0", open_scopes=frozenset(Scope)) -> TestClient:
    metrics, health, access = ServingMetrics(), Health("version"), Access(tokens or {}, open_scopes=open_scopes)
    console = Console(
        redis, mirror, metrics, health, streaming=StreamingConfig(log=log), indexer=IndexerConfig(lease_ttl=1.0)
    )
    app = create_app(Api(mirror, ServingConfig(), metrics, access=access), metrics, health)
    add_console(app, ConsoleApi(console, access), console, metrics)
    return TestClient(app)


@pytest.fixture
def client(redis_client, mirror) -> TestClient:
    return serve(redis_client, mirror)


def ask(client: TestClient, path: str, token: str = "", **parameters) -> object:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    response = client.get(f"/v1/console/{path}", params=parameters, headers=headers)
    assert response.status_code == 200, response.text
    return response.json()


def test_now_says_what_the_loop_does_and_what_is_wrong(client, redis_client):
    redis_client.hset(key("progress"), mapping={"trained": "7", "dropped": '{"duplicate": 2}', "loss": "NaN"})
    redis_client.set(key("trainer", "lease"), "3:host/12/abc")
    now = ask(client, "now")
    assert (now["stream"]["trained"], now["stream"]["dropped"], now["stream"]["loss"]) == (7, {"duplicate": 2}, None)
    assert (now["processes"]["trainer"], now["processes"]["scheduler"]) == ("host/12/abc", None)
    assert (now["index"]["version"], now["index"]["items"]) == (1, 60)
    assert any("No scheduler leads" in notice["text"] for notice in now["attention"])
    assert ask(client, "history", seconds=900) == {"t": [], "recall": {}}


def test_signals_are_those_of_the_last_windows(client, redis_client):
    assert ask(client, "signals") == []
    redis_client.hset(key("progress"), "signals", '{"model_loss": [[1000, 6.5], [2000, 6.25]]}')
    assert ask(client, "signals") == [{"name": "model_loss", "ends": [1000, 2000], "values": [6.5, 6.25]}]


def test_before_the_first_version_now_answers_and_the_rest_says_why_not(redis_client):
    client = serve(redis_client, Mirror())
    assert ask(client, "now")["index"]["items"] is None
    refused = client.get("/v1/console/index")
    assert refused.status_code == 503
    assert "no version" in refused.json()["error"]


def test_items_are_found_by_part_of_a_title_or_an_id(redis_client, plant):
    plant.add("sku-1", 2, title="A Grand Day Out", image="https://shop.example/1.jpg", topic="film")
    mirror = Mirror()
    plant.load(mirror)
    client = serve(redis_client, mirror)
    [found] = ask(client, "items", q="grand day")
    assert (found["id"], found["title"], found["image"]) == ("sku-1", "A Grand Day Out", "https://shop.example/1.jpg")
    assert (found["node"], found["retrievable"]) == (2, True)
    assert [item["id"] for item in ask(client, "items", q="SKU-")] == ["sku-1"]
    assert len(ask(client, "items", q="c1-")) == 10
    assert ask(client, "items", q="nothing is called so") == []
    cards = client.post("/v1/console/items", json={"ids": ["c0-1", "unknown"]}).json()
    assert [(card["id"], card.get("node")) for card in cards] == [("c0-1", 0), ("unknown", None)]


def test_users_are_found_and_have_a_history(client):
    assert [user["id"] for user in ask(client, "users")] == ["u5", "u4", "u3", "u2", "u1", "u0"]
    assert [user["id"] for user in ask(client, "users", q="u3")] == ["u3"]
    history = ask(client, "users/u2")
    assert [item["id"] for item in history["items"]] == ["c2-2", "c2-1", "c2-0"]
    assert ask(client, "users/no/body") == {"id": "no/body", "known": False, "items": []}


def test_features_to_filter_by_are_those_with_few_values_and_numbers_have_a_range(client):
    found = ask(client, "features")
    assert found["values"]["topic"] == [f"c{cluster}" for cluster in range(6)]
    assert set(found["values"]) == {"topic", "parity", "tags"}
    assert found["ranges"] == {"parity": [0, 1]}


def test_the_index_has_sizes_traffic_and_age_by_node(client):
    index = ask(client, "index")
    assert (index["levels"], index["size"]) == ([6], [10] * 6)
    assert sum(index["traffic"]) == pytest.approx(1.0, abs=1e-4)
    assert index["age"] == [0.01] * 6  # hours: 18 events of a second each came after the items
    assert all(label.startswith(f"c{node}-") for node, label in enumerate(index["label"]))
    assert index["balance"]["items"] == 60
    node = ask(client, "nodes/3")
    assert (node["size"], len(node["items"])) == (10, 10)
    assert {item["id"] for item in node["items"][:3]} == {"c3-0", "c3-1", "c3-2"}  # those with traffic


@pytest.mark.parametrize(
    ("path", "status", "text"),
    [
        ("nodes/6", 404, "0 to 5"),
        ("nodes/x", 422, "not a whole number"),
        ("diff?before=7&after=8", 404, "version 7"),
        ("diff?before=7", 422, "not a whole number"),
        ("nonsense", 404, "openapi"),
    ],
)
def test_what_is_not_there_is_said(client, path, status, text):
    refused = client.get(f"/v1/console/{path}")
    assert (refused.status_code, text in refused.json()["error"]) == (status, True)


def test_versions_are_compared_and_rolled_back_to(client, redis_client, plant):
    for _ in range(2):
        number = plant.write(redis_client)
        redis_client.zadd(key("versions"), {str(number): number})
        redis_client.set(key("current"), number)
        plant.move(0, 5)
    found = ask(client, "versions")
    assert ([version["version"] for version in found["versions"]], found["current"]) == ([3, 2], 3)
    difference = ask(client, "diff", before=2, after=3)
    assert (difference["moved"], difference["common"], difference["came"]) == (1, 60, 0)
    came, went = difference["by_node"]["came"], difference["by_node"]["went"]
    assert (sum(came), sum(went), came[5], went[0]) == (1, 1, 1, 1)
    assert client.post("/v1/console/rollback", json={"version": 9}).status_code == 409
    assert client.post("/v1/console/rollback", json={"version": 2, "hold": True}).json() == {"current": 2}
    assert ask(client, "versions")["hold"]["reason"] == "rolled back to version 2"
    assert client.post("/v1/console/release", json={}).json() == {"lifted": True}
    assert client.post("/v1/console/hold", json={"reason": "a test"}).json()["hold"]["reason"] == "a test"
    assert current_hold(IndexReader(redis_client)).reason == "a test"
    assert [entry["event"] for entry in ask(client, "timeline")] == ["hold", "release", "hold", "rollback"]


def test_arrivals_and_departures_are_those_of_the_deltas(client, redis_client, plant):
    number = plant.write(redis_client)
    redis_client.zadd(key("versions"), {str(number): number})
    new = plant.add("new", 1, title="New")
    for delta in (new, plant.move(3, 4), plant.delete(5)):
        redis_client.xadd(key("deltas", number), {"d": delta.encode()})
    redis_client.xadd(key("deltas", number), {"d": b"\xc1"})
    found = ask(client, "changes")
    assert [(change["item"], change["title"], change["arrived"], change["reason"]) for change in found] == [
        ("c0-5", None, False, "deleted"),
        ("new", "New", True, "new"),
    ]


def test_dead_letters_are_counted_shown_and_sent_again(redis_server, redis_client, mirror):
    client, log = serve(redis_client, mirror, log=redis_server), open_log(redis_server)
    log.create_topic("engagements", 1)
    letters = [
        DeadLetter(Record("engagements", 0, offset, b"k", b'{"user": %d' % offset, headers=(), sent_at=1), -1, why, "")
        for offset, why in enumerate(("invalid_json", "invalid_json", "too_old"))
    ]
    writer = DeadLetterWriter(log)
    writer.write(letters)
    writer.flush()
    counts = {count["reason"]: count for count in ask(client, "dead_letters")["counts"]}
    assert {reason: count["letters"] for reason, count in counts.items()} == {"invalid_json": 2, "too_old": 1}
    assert [sample["value"] for sample in counts["invalid_json"]["samples"]] == ['{"user": 1', '{"user": 0']
    wanted = {"topic": "engagements", "reason": "invalid_json"}
    assert client.post("/v1/console/replay", json=wanted).json() == {"replayed": 2, "skipped": {}}
    assert client.post("/v1/console/replay", json=wanted).json()["replayed"] == 0
    assert log.end_positions([("engagements", 0)]) == {("engagements", 0): 2}
    assert ask(client, "timeline")[0]["event"] == "replay"
    log.close()


@pytest.mark.slow  # the client tries for five seconds
def test_a_log_that_is_away_is_a_sentence(client):
    refused = client.get("/v1/console/dead_letters")
    assert refused.status_code == 503
    assert "127.0.0.1" in refused.json()["error"]


def test_jobs_are_shown_and_a_request_without_a_leader_waits(client, redis_client, monkeypatch):
    monkeypatch.setattr("hsnn.serving.console.operator_actions._LEADER_SECONDS", 0.05)
    assert {job["name"] for job in ask(client, "jobs")} >= {"refresh", "verify"}
    assert client.post("/v1/console/jobs/verify/run", json={}).json() == {"taken": False}
    assert redis_client.xlen(key("jobs", "requests")) == 1
    assert client.post("/v1/console/jobs/nonsense/run", json={}).status_code == 404
    assert client.post("/v1/console/jobs/verify/explode", json={}).status_code == 404


def test_reading_needs_a_token_and_acting_another(redis_client, mirror):
    client = serve(redis_client, mirror, TOKENS)
    assert client.get("/v1/console/now").status_code == 401
    assert client.get("/v1/console/live").status_code == 401
    assert ask(client, "session", token="read") == {"token": "shop", "may_act": False}
    assert ask(client, "session", token="act") == {"token": "ops", "may_act": True}
    for token, status in (("", 401), ("read", 403), ("act", 200)):
        call = client.post("/v1/console/release", json={}, headers={"Authorization": f"Bearer {token}"})
        assert call.status_code == status
    assert client.get("/console").status_code == 200  # the page holds no data


def test_an_open_server_that_others_reach_is_for_reading(redis_client, mirror):
    client = serve(redis_client, mirror, open_scopes={Scope.READ})
    assert ask(client, "session") == {"token": None, "may_act": False}
    assert client.post("/v1/console/release", json={}).status_code == 401


@pytest.mark.parametrize(
    "headers",
    [
        {"Content-Type": "text/plain"},
        {"Content-Type": "application/json", "Origin": "https://elsewhere.example"},
        {"Content-Type": "application/json", "Origin": "null"},
    ],
)
def test_pages_of_other_sites_may_not_act(client, headers):
    assert client.post("/v1/console/release", content=b"{}", headers=headers).status_code == 403
    own = {"Content-Type": "application/json", "Origin": "http://testserver"}
    assert client.post("/v1/console/release", content=b"{}", headers=own).status_code == 200


def test_bodies_are_checked_and_bounded(client):
    assert "version" in client.post("/v1/console/rollback", json={"versions": 1}).json()["error"]
    assert (
        client.post("/v1/console/hold", content=b"\xff", headers={"Content-Type": "application/json"}).status_code
        == 422
    )
    huge = client.post("/v1/console/hold", json={"reason": "x" * 300_000})
    assert huge.status_code == 413


def test_the_page_comes_with_its_policy_and_is_not_sent_twice(client):
    page = client.get("/console")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert "default-src 'none'" in page.headers["content-security-policy"]
    again = client.get(
        "/console/console.js", headers={"If-None-Match": client.get("/console/console.js").headers["etag"]}
    )
    assert (again.status_code, again.content) == (304, b"")
    assert client.get("/console/../app.py").status_code == 404


def test_the_live_stream_gives_figures_and_ends_with_the_server(redis_client, mirror):
    metrics, health, access = ServingMetrics(), Health("version"), Access({})
    console = Console(redis_client, mirror, metrics, health, streaming=StreamingConfig(), indexer=IndexerConfig())
    api = ConsoleApi(console, access)

    async def read() -> list[bytes]:
        events = []
        async for event in api._events():
            events.append(event)
            api.stop()
        return events

    [event] = asyncio.run(asyncio.wait_for(read(), 20))
    name, data, *_ = event.decode().split("\n")
    assert name == "event: now"
    assert json.loads(data.removeprefix("data: "))["index"]["version"] == 1
    api.close()
