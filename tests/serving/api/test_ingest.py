from __future__ import annotations

import json
import os
import signal
from contextlib import suppress
from itertools import count
from threading import Thread

import httpx
import pytest
from fastapi.testclient import TestClient

from hsnn.monitoring.health import Health
from hsnn.serving.api.access import Access, Token
from hsnn.serving.api.app import Api, create_app
from hsnn.serving.api.ingest import IngestApi
from hsnn.serving.client.client import Client
from hsnn.serving.config import Scope, ServingConfig
from hsnn.serving.errors import ClientError
from hsnn.serving.ingest.appender import EventAppender
from hsnn.serving.metrics import ServingMetrics
from hsnn.serving.mirror.mirror import Mirror
from hsnn.streaming.config import StreamingConfig
from hsnn.streaming.consumer.consumer import Consumer
from hsnn.streaming.decode.decoder import decode_records
from hsnn.streaming.decode.event_table import EventTable
from hsnn.streaming.errors import LogUnavailableError
from hsnn.streaming.log.base import EventLog
from hsnn.streaming.log.memory import MemoryLog
from hsnn.streaming.log.open import open_log
from hsnn.streaming.producer.commands import send_command
from hsnn.streaming.schema.arrow import write_interactions
from hsnn.streaming.schema.commands import End
from hsnn.streaming.schema.events import Interaction, Item
from hsnn.streaming.schema.item_life import NOT_KNOWN, apply_event
from hsnn.streaming.schema.topics import topic_roles
from tests.serving.server_process import ServerProcess
from tests.waiting import wait_until

CONFIG = StreamingConfig()
PAGE = "https://shop.example"
KEY = "pk_0123456789abcdef"
EVENT = {"type": "interaction", "id": 1, "user": "u", "item": "a", "action": "click"}


class Shop:
    """An application that takes events into a log in memory."""

    def __init__(self, *, tokens: dict[str, Token] | None = None, open_scopes=frozenset(Scope), log=None, **config):
        self.log, settings, metrics = log or MemoryLog(), ServingConfig(**config), ServingMetrics()
        access = Access(tokens or {}, open_scopes=open_scopes)
        self.ingest = IngestApi(EventAppender(lambda: self.log, CONFIG, metrics), access, settings, CONFIG)
        app = create_app(Api(Mirror(), settings, metrics, access), metrics, Health("version"), self.ingest)
        self.http = TestClient(app)

    def post(self, content=EVENT, path: str = "/v1/events", **headers: str) -> httpx.Response:
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        return self.http.post(path, content=body, headers=headers)

    def stored(self, topic: str) -> list:
        """Events of a topic as the consumer decodes them, in the order of the partitions."""
        return [event for table in tables(self.log, topic) for event in table.payload]

    def users(self) -> list[str]:
        """Users of the interactions in the log."""
        return [user for table in tables(self.log, CONFIG.engagements_topic) for user in table.user]


def tables(log: EventLog, topic: str) -> list[EventTable]:
    """All records of a topic, decoded as the consumer does it."""
    parts = [(topic, partition) for partition in log.partitions(topic)]
    log.seek(dict.fromkeys(parts, 0))
    return [decode_records(topic_roles(CONFIG)[topic], records) for records in log.poll(1_000_000, 0.1)]


@pytest.fixture
def make():
    made = []

    def build(**options) -> Shop:
        made.append(Shop(**options))
        return made[-1]

    yield build
    for shop in made:
        shop.ingest.close()


@pytest.fixture
def public(make):
    keys = {"page": {"key": KEY, "origins": [PAGE], "rate": 100.0, "address_rate": 5.0}}
    return make(ingest_keys=keys, tokens={"server": Token("secret")})


def test_accepted_events_are_in_the_log(make):
    shop = make()
    answer = shop.post([EVENT, EVENT | {"id": 2, "user": 7}])
    assert (answer.status_code, answer.json()) == (202, {"accepted": 2})
    assert sorted(shop.users()) == ["7", "u"]


def test_invalid_events_are_explained_and_not_taken(make):
    shop = make()
    answer = shop.post([EVENT, {"type": "interaction"}])
    assert answer.status_code == 422
    assert "event 1: Object missing required field" in answer.json()["error"]
    assert shop.users() == []


def test_items_are_put_patched_and_deleted(make):
    shop = make()
    path = "/v1/items/shoes%2Fred"
    assert shop.http.put(path, json={"features": {"price": 5, "kind": "shoe"}, "expires_at": None}).status_code == 202
    assert shop.http.patch(path, json={"features": {"price": 4}}).status_code == 202
    known = NOT_KNOWN
    for event in shop.stored("items"):
        assert event.id == "shoes/red"
        known, _ = apply_event(known, event)
    assert (known.announced, known.features) == (True, {"price": 4, "kind": "shoe"})
    assert shop.http.delete(path).status_code == 202
    known, _ = apply_event(known, shop.stored("items")[-1])
    assert not known.announced


def test_an_item_may_say_since_when_it_is_so(make):
    shop = make()
    assert shop.http.put("/v1/items/a", json={"ts": 1_600_000_000_000}).status_code == 202
    assert shop.stored("items")[0].ts == 1_600_000_000_000


@pytest.mark.parametrize(
    ("path", "body", "why"),
    [
        ("/v1/items/a", {"feature": {}}, "unknown field `feature`"),
        ("/v1/items/a", {"expires_at": 1_700_000_000}, "looks like seconds"),
        ("/v1/items/" + "x" * 300, {}, "300 characters"),
        ("/v1/users/u", {"expires_at": None}, "unknown field `expires_at`"),
        ("/v1/users/u", [], "Expected `object`"),
    ],
)
def test_descriptions_that_cannot_be_taken(make, path, body, why):
    answer = make().http.put(path, json=body)
    assert answer.status_code == 422
    assert why in answer.json()["error"]


def test_users_are_put_and_deleted(make):
    shop = make()
    assert shop.http.put("/v1/users/7", json={"features": {"age": 30}}).status_code == 202
    assert shop.http.delete("/v1/users/7").status_code == 202
    put, deleted = shop.stored("users")
    assert (put.features, deleted) == ({"age": 30}, "7")
    assert shop.http.patch("/v1/users/7", json={}).status_code == 405  # a user is described as a whole


def test_calls_that_write_need_a_token_with_that_scope(make):
    shop = make(tokens={"r": Token("r", frozenset({Scope.READ})), "w": Token("w", frozenset({Scope.WRITE}))})
    for method, path in [("post", "/v1/events"), ("put", "/v1/items/a"), ("delete", "/v1/users/u")]:
        call = shop.http.build_request(method, path, content=b"{}")
        assert shop.http.send(call).status_code == 401
        call.headers["Authorization"] = "Bearer r"
        assert shop.http.send(call).status_code == 403
    assert shop.post(authorization="Bearer w").status_code == 202


def test_a_server_that_others_reach_without_a_token_takes_none(make):
    answer = make(open_scopes={Scope.READ}).post()
    assert answer.status_code == 401
    assert "serving.tokens" in answer.json()["error"]


def test_without_tokens_pages_of_other_sites_cannot_write(make):
    shop = make()
    assert shop.post(origin="https://evil.example").status_code == 403
    assert shop.post(origin="http://testserver").status_code == 202  # a page of this server


def test_events_count_against_the_rate_of_the_token(make):
    shop = make(tokens={"w": Token("w", frozenset({Scope.WRITE}), rate=10.0)})
    assert shop.post([EVENT] * 50, authorization="Bearer w").status_code == 202
    refused = shop.post(authorization="Bearer w")
    assert (refused.status_code, refused.headers["retry-after"]) == (429, "5")


def test_a_page_sends_with_its_key(public):
    answer = public.post(path=f"/v1/events?key={KEY}", origin=PAGE)  # as `sendBeacon` does: no header of its own
    assert answer.status_code == 202
    assert answer.headers["access-control-allow-origin"] == PAGE
    assert answer.headers["vary"] == "Origin"
    assert public.users() == ["u"]


def test_a_browser_asks_before_it_sends_json(public):
    answer = public.http.options(f"/v1/events?key={KEY}", headers={"Origin": PAGE})
    assert answer.status_code == 204
    assert answer.headers["access-control-allow-origin"] == PAGE
    assert answer.headers["access-control-allow-methods"] == "POST"
    assert answer.headers["access-control-allow-headers"] == "content-type"
    refused = public.http.options(f"/v1/events?key={KEY}", headers={"Origin": "https://evil.example"})
    assert refused.status_code == 403
    assert "access-control-allow-origin" not in refused.headers


@pytest.mark.parametrize(
    ("path", "origin", "status"),
    [
        ("/v1/events?key=pk_unknown_unknown", PAGE, 401),
        (f"/v1/events?key={KEY}", "https://evil.example", 403),
        (f"/v1/events?key={KEY}", "null", 403),
        (f"/v1/events?key={KEY}", "", 403),
    ],
)
def test_other_keys_and_other_origins_are_refused(public, path, origin, status):
    answer = public.post(path=path, origin=origin)
    assert answer.status_code == status
    assert "access-control-allow-origin" not in answer.headers
    assert public.users() == []


def test_a_key_is_for_interactions_and_impressions_only(public):
    answer = public.post({"type": "item", "id": "a"}, path=f"/v1/events?key={KEY}", origin=PAGE)
    assert answer.status_code == 422
    assert answer.headers["access-control-allow-origin"] == PAGE  # so that the page can read why
    assert public.http.put(f"/v1/items/a?key={KEY}", json={}, headers={"Origin": PAGE}).status_code == 401


def test_a_page_sends_little_at_a_time(public):
    large = EVENT | {"context": {"x": "y" * 70_000}}
    assert public.post(large, path=f"/v1/events?key={KEY}", origin=PAGE).status_code == 413


def test_pages_are_limited_per_address(public):
    path = f"/v1/events?key={KEY}"
    assert public.post([EVENT] * 20, path=path, origin=PAGE).status_code == 202
    refused = public.post(path=path, origin=PAGE)
    assert refused.status_code == 429
    assert int(refused.headers["retry-after"]) >= 3
    assert "one address" in refused.json()["error"]


def test_a_log_that_is_away_is_a_503_and_retrievals_go_on(make):
    class Away(MemoryLog):
        def append(self, topic, records):
            raise LogUnavailableError("no connection")

    shop = make(log=Away())
    answer = shop.post()
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    assert shop.http.get("/healthz/live").status_code == 200


def test_openapi_describes_the_calls(make):
    paths = make().http.get("/openapi.json").json()["paths"]
    assert paths.keys() >= {"/v1/events", "/v1/items/{item}", "/v1/users/{user}"}
    assert paths["/v1/items/{item}"].keys() == {"get", "put", "patch", "delete"}


def learned(shop: Shop, **options) -> list:
    """Batches as the trainer would get them."""
    consumer, batches = Consumer(shop.log, CONFIG.model_copy(update={"max_wait": 0.0} | options)), []
    while (batch := consumer.next_batch(0.05)) is not None:
        batches.append(batch)
    return batches


@pytest.mark.slow
def test_a_call_that_is_repeated_counts_once(make):
    shop = make()
    events = [EVENT | {"id": number, "ts": 1_700_000_000_000} for number in range(10)]
    arrow = write_interactions([1_700_000_000_000] * 10, ["v"] * 10, ["a"] * 10, ["click"] * 10, id=list("0123456789"))
    for body in (events, events, arrow, arrow):  # as after an answer that was lost
        assert shop.post(body).json() == {"accepted": 10}
    batches = learned(shop)
    assert sum(len(batch.engagements) for batch in batches) == 20
    assert [user for batch in batches for user in batch.engagements.user].count("u") == 10


def test_an_action_answers_the_recommendation_that_it_names(make):
    shop, now = make(), 1_700_000_000_000
    shown = {"type": "impression", "recommendation_id": "r1", "ts": now, "user": "u", "items": ["a", "b"]}
    again = shown | {"recommendation_id": "r2", "ts": now + 2}
    clicked = EVENT | {"recommendation_id": "r1", "item": "b", "ts": now + 4}
    assert shop.post([shown, again, clicked]).status_code == 202
    send_command(shop.log, CONFIG, End(now + 5))
    labels = {}
    for batch in learned(shop, tasks=("click",)):
        found = batch.labelled_impressions
        for ts, item, label in zip(found.ts.tolist(), found.item, found.labels[:, 0].tolist(), strict=True):
            labels[ts - now, item] = label
    assert labels == {(0, "a"): 0, (0, "b"): 1, (2, "a"): 0, (2, "b"): 0}


_INGEST_PROCESS = """
import sys
from pathlib import Path
from hsnn.serving.config import ServingConfig
from hsnn.serving.api.server import ServerSettings, run
from hsnn.streaming.config import StreamingConfig
from hsnn.streaming.consumer.consumer import Consumer
config = ServingConfig(port=0, engine=False)
run(ServerSettings(config, sys.argv[2], Path(sys.argv[3]), streaming=StreamingConfig(log=sys.argv[2])))
"""


class Sender(Thread):
    """Sends batches of events one after the other until the server is gone, and notes what it accepted."""

    batch = 20

    def __init__(self, name: str, url: str) -> None:
        super().__init__(daemon=True)
        self.prefix, self.url, self.accepted = name, url, []

    def run(self) -> None:
        with Client(self.url) as client, suppress(ClientError):
            for number in count():
                ids = [f"{self.prefix}-{number}-{event}" for event in range(self.batch)]
                client.send_events([Interaction(id=i, ts=0, user=i, item="a", action="click") for i in ids])
                self.accepted += ids


@pytest.mark.slow  # 15 s on a busy machine: the server's process imports PyTorch
@pytest.mark.usefixtures("redis_client")  # which leaves nothing of other tests in the log
def test_what_was_accepted_is_in_the_log_when_the_server_is_killed(redis_server, tmp_path):
    server = ServerProcess(redis_server, tmp_path, program=_INGEST_PROCESS)
    senders = [Sender(name, server.url) for name in "abc"]
    try:
        with Client(server.url) as client:
            assert client.send_events([Item(id="a", ts=5)]) == 1
            with pytest.raises(ClientError, match="ahead") as refused:
                client.send_events([Item(id="a", ts=4_000_000_000_000)])
            assert refused.value.status == 422
        for sender in senders:
            sender.start()
        wait_until(lambda: all(len(sender.accepted) > 300 for sender in senders))
    finally:
        os.kill(server.popen.pid, signal.SIGKILL)  # in the middle of calls
        server.popen.wait()
    for sender in senders:
        sender.join()
    log = open_log(redis_server)
    stored = {name for table in tables(log, CONFIG.engagements_topic) for name in table.event_id}
    log.close()
    accepted = {name for sender in senders for name in sender.accepted}
    assert accepted <= stored
    assert len(stored - accepted) <= len(senders) * Sender.batch  # what was under way
