"""FreshnessProbes: new items only, from sending to the first answer that holds them."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from typing import Any

import httpx
import pytest

from hsnn.demo import probes
from hsnn.demo.probes import FreshnessProbes
from hsnn.streaming.redis.client import Redis, connect
from hsnn.streaming.redis.keys import key
from hsnn.trainer.messages import Feed, FeedItem
from tests.waiting import DEADLINE, wait_until

pytestmark = pytest.mark.slow


class Server(ThreadingHTTPServer):
    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.known: set[str] = set()
        self.asked: list[dict[str, Any]] = []
        self.status = 200


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_POST(self) -> None:
        queries = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["queries"]
        self.server.asked += queries
        answers = [{"items": [i for i in q["filters"]["items"] if i in self.server.known]} for q in queries]
        body = json.dumps({"answers": answers}).encode()
        self.send_response(self.server.status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None: ...


@pytest.fixture
def server() -> Iterator[Server]:
    found = Server()
    threading.Thread(target=found.serve_forever, daemon=True).start()
    yield found
    found.shutdown()
    found.server_close()


def item(name: str, row: int, sent_at: int | None = None) -> FeedItem:
    sent = int(time.time() * 1000) if sent_at is None else sent_at
    return FeedItem(id=name, row=row, tokens=[], features={}, ts=1, sent_at=sent)


def announce(redis: Redis, *items: FeedItem) -> None:
    redis.xadd(key("feed"), {b"d": Feed(1, list(items)).encode()})


def probing(
    redis_server: str, server: Server, spacing: float = 0.0
) -> tuple[FreshnessProbes, list[tuple[float, bool]]]:
    found: list[tuple[float, bool]] = []
    thread = FreshnessProbes(
        connect(redis_server), f"http://127.0.0.1:{server.server_port}", lambda s, ok: found.append((s, ok)), spacing
    )
    thread.start()
    return thread, found


def test_a_probe_lasts_from_sending_to_the_first_answer_with_the_item(
    redis_client: Redis, redis_server: str, server: Server
) -> None:
    announce(redis_client, item("before", 0), item("also before", 4))
    thread, found = probing(redis_server, server)
    wait_until(lambda: thread._rows == 5)
    announce(redis_client, item("changed", 3), item("new", 5))
    wait_until(lambda: server.asked)
    time.sleep(0.3)
    assert found == []
    server.known.add("new")
    wait_until(lambda: found)
    thread.end()
    assert thread.error is None
    assert {name for query in server.asked for name in query["filters"]["items"]} == {"new"}
    (seconds, answered), *rest = found
    assert 0.3 <= seconds < DEADLINE
    assert answered
    assert rest == []


def test_one_item_in_a_while_is_probed_however_slow_the_others_are(
    redis_client: Redis, redis_server: str, server: Server
) -> None:
    def asked_for() -> set[str]:
        return {query["filters"]["items"][0] for query in server.asked}

    begun, rows = time.monotonic(), count()
    thread, found = probing(redis_server, server, spacing=0.15)

    def several_wait() -> bool:
        announce(redis_client, item(f"i{(row := next(rows))}", row))
        time.sleep(0.02)
        return len(asked_for()) >= 3

    wait_until(several_wait)
    waiting = asked_for()
    assert len(waiting) <= 2 + (time.monotonic() - begun) / 0.15
    server.known |= waiting
    wait_until(lambda: len(found) >= len(waiting))
    thread.end()


def test_an_item_that_never_comes_counts_as_unanswered_with_its_age(
    redis_client: Redis, redis_server: str, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probes, "_TIMEOUT", 0.5)
    thread, found = probing(redis_server, server)
    wait_until(lambda: thread._position is not None)
    time.sleep(0.2)
    announce(redis_client, item("lost", 0))
    wait_until(lambda: found)
    assert found[0][0] >= 0.5
    assert not found[0][1]
    thread.end()


def test_a_call_that_fails_leaves_the_item_open(
    redis_client: Redis, redis_server: str, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    thread, found = probing(redis_server, server)
    wait_until(lambda: thread._answered_at)
    post, failed = thread._http.post, []

    def reset(*arguments: Any, **options: Any) -> httpx.Response:
        failed.append(1)
        raise httpx.ReadError("Connection reset by peer")

    monkeypatch.setattr(thread._http, "post", reset)
    announce(redis_client, item("new", 0))
    wait_until(lambda: failed)
    monkeypatch.setattr(thread._http, "post", post)
    server.known.add("new")
    wait_until(lambda: found)
    assert found[0][1]
    assert thread.error is None
    thread.end()


def test_a_server_that_goes_away_is_told(
    redis_client: Redis, redis_server: str, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probes, "_TIMEOUT", 0.5)
    thread, _ = probing(redis_server, server)
    time.sleep(0.2)
    server.shutdown()
    server.server_close()
    announce(redis_client, item("new", 0))
    wait_until(lambda: thread.error is not None)
    thread.end()
