from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import time
from collections.abc import Iterator
from threading import Thread

import httpx
import pytest
import uvicorn

from hsnn.monitoring.health import Health
from hsnn.serving.api import connection
from hsnn.serving.api.app import Api, create_app
from hsnn.serving.api.server import uvicorn_config
from hsnn.serving.config import ServingConfig
from hsnn.serving.metrics import ServingMetrics
from hsnn.serving.mirror.mirror import Mirror
from tests.waiting import DEADLINE, wait_until


class Serving:
    """The server's connections and routes, on a free port of loopback."""

    def __init__(self, mirror: Mirror, **config: object) -> None:
        self.metrics, settings = ServingMetrics(), ServingConfig(**config)
        health = Health("test")
        health.set_ready("test")
        self.api = Api(mirror, settings, self.metrics)
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.address = self._listening.getsockname()
        self.url = f"http://127.0.0.1:{self.address[1]}"
        self.server = uvicorn.Server(uvicorn_config(create_app(self.api, self.metrics, health), settings, self.metrics))
        self._thread = Thread(target=self._run)
        self._thread.start()
        while not self.server.started:
            time.sleep(0.001)

    def _run(self) -> None:
        asyncio.run(self.server.serve([self._listening]))

    def stop(self) -> None:
        self.server.should_exit = self.server.force_exit = True
        self._thread.join()
        self.api.close()

    def connect(self, sent: bytes = b"", buffer: int | None = None) -> socket.socket:
        opened = socket.socket()
        if buffer is not None:
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        opened.settimeout(DEADLINE)
        opened.connect(self.address)
        opened.sendall(sent)
        return opened

    def closed(self, reason: str) -> float:
        return self.metrics.closed.labels(reason)._value.get()


@pytest.fixture
def serving(mirror: Mirror) -> Iterator[Serving]:
    serving = Serving(mirror, max_connections=4, deadline="60s")
    yield serving
    serving.stop()


def ended(opened: socket.socket) -> bool:
    """Whether the server has closed a connection."""
    try:
        return opened.recv(1 << 16) == b""
    except ConnectionError:
        return True


LIVE = b"GET /healthz/live HTTP/1.1\r\nHost: x\r\n\r\n"


@pytest.mark.parametrize("sent", [b"", b"GET /healthz/li", b"GET /healthz/live HTTP/1.1\r\nX: "])
def test_a_client_without_headers_is_closed_however_slowly_it_sends(serving, monkeypatch, sent):
    monkeypatch.setattr(connection, "_HEADER_SECONDS", 0.1)
    opened, end = serving.connect(sent), time.monotonic() + 0.3
    with contextlib.suppress(ConnectionError):
        while time.monotonic() < end:
            opened.sendall(b"x" if sent else b"")
            time.sleep(0.01)
    assert ended(opened)
    assert serving.closed("no headers") == 1


def test_a_client_whose_headers_have_no_end_is_closed(serving):
    opened = serving.connect(b"GET /healthz/live HTTP/1.1\r\n")
    with contextlib.suppress(ConnectionError):
        for _ in range(1000):
            opened.sendall(b"X: " + b"y" * 1000 + b"\r\n")
    assert ended(opened)
    assert serving.closed("large headers") == 1


def test_a_request_in_progress_is_no_idle_connection(serving, monkeypatch):
    monkeypatch.setattr(connection, "_HEADER_SECONDS", 0.05)
    body = json.dumps({"user": "u0"}).encode()
    opened = serving.connect(b"POST /v1/retrieve HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body))
    time.sleep(0.15)
    opened.sendall(body)
    assert opened.recv(1 << 16).startswith(b"HTTP/1.1 200")


def test_one_connection_too_many_closes_the_one_idle_longest(serving):
    idle = []
    for _ in range(4):
        idle.append(serving.connect())
        time.sleep(0.01)
    assert httpx.get(serving.url + "/healthz/live").status_code == 200
    assert ended(idle[0])
    assert serving.closed("limit") == 1
    for opened in idle[1:]:
        opened.sendall(LIVE)
        assert opened.recv(1 << 16).startswith(b"HTTP/1.1 200")


def test_while_all_connections_are_busy_a_new_one_is_refused(serving):
    unfinished = b"POST /v1/retrieve HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n{"
    busy = [serving.connect(unfinished) for _ in range(4)]
    wait_until(lambda: [one.is_idle for one in serving.server.server_state.connections] == [False] * 4)
    assert ended(serving.connect(LIVE))
    busy[0].sendall(b"        ")
    assert busy[0].recv(1 << 16).startswith(b"HTTP/1.1 422")


@pytest.mark.slow
def test_a_client_that_does_not_read_its_answer_is_closed(serving, monkeypatch):
    monkeypatch.setattr(connection, "_READ_SECONDS", 0.1)
    body = json.dumps({"queries": [{"user": "u0", "k": 60, "mode": "popularity"}] * 4000}).encode()  # an answer of 5 MB
    post = b"POST /v1/retrieve_many HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body)
    opened, end = serving.connect(post + body, buffer=4096), time.monotonic() + DEADLINE
    while not serving.closed("unread answer"):
        assert time.monotonic() < end
        time.sleep(0.02)
    opened.close()


def test_a_client_that_hangs_up_leaves_nothing_in_the_log(serving, caplog):
    for sent in (LIVE[:10], LIVE, b"POST /v1/retrieve HTTP/1.1\r\nHost: x\r\nContent-Length: 99\r\n\r\n{"):
        serving.connect(sent).close()
    wait_until(lambda: not serving.server.server_state.connections)
    assert not [record for record in caplog.records if record.exc_info and record.name.startswith(("hsnn.", "uvicorn"))]
