"""Both clients: what they send, what they return, and when they repeat a call."""

from __future__ import annotations

import asyncio
import inspect
import json
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import msgspec
import pytest

import hsnn
from hsnn.serving.client.calls import Attempts
from hsnn.serving.errors import ClientError
from hsnn.serving.schema import Answer, AnswersBody, AnswerStats, Request
from hsnn.streaming.schema.events import Interaction

ANSWER = Answer(
    items=["a"], scores=[1.0], version=1, as_of=0, stats=AnswerStats(scored=1, candidates=1, nodes=1, corpus=1)
)
DONE = (200, msgspec.json.encode(ANSWER), {})


class Server:
    """A server that gives prepared responses, the last one for ever, and keeps what it was sent."""

    def __init__(self) -> None:
        self.responses: list[tuple[int, bytes, dict[str, str]]] = [DONE]
        self.calls: list[tuple[str, str, Any]] = []
        self.headers: dict[str, str] = {}
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length", 0)))
                server.calls.append((self.command, self.path, json.loads(body) if body else None))
                server.headers = {name.lower(): value for name, value in self.headers.items()}
                status, text, headers = server.responses[min(len(server.calls), len(server.responses)) - 1]
                self.send_response(status)
                for name, value in {"Content-Length": str(len(text)), **headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(text)

            def do_POST(self) -> None:
                self.do_GET()

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}"
        Thread(target=self.http.serve_forever, args=(0.01,), daemon=True).start()


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    yield server
    server.http.shutdown()
    server.http.server_close()


Run = Callable[..., Any]


@pytest.fixture(params=["threads", "asyncio"])
def run(request: pytest.FixtureRequest, server: Server) -> Run:
    """Call a method of one of the clients: ``run("retrieve", "u", k=3)``; options go to the client by `client`."""

    def of_threads(method: str, *arguments: Any, client: dict[str, Any] | None = None, **fields: Any) -> Any:
        with hsnn.Client(server.url, **(client or {})) as made:
            return getattr(made, method)(*arguments, **fields)

    def of_asyncio(method: str, *arguments: Any, client: dict[str, Any] | None = None, **fields: Any) -> Any:
        async def call() -> Any:
            async with hsnn.AsyncClient(server.url, **(client or {})) as made:
                return await getattr(made, method)(*arguments, **fields)

        return asyncio.run(call())

    return of_threads if request.param == "threads" else of_asyncio


def test_both_have_the_same_methods():
    threads, asynchronous = (
        {name: inspect.signature(member) for name, member in vars(kind).items() if not name.startswith("_")}
        for kind in (hsnn.Client, hsnn.AsyncClient)
    )
    assert threads == asynchronous
    assert inspect.signature(hsnn.Client) == inspect.signature(hsnn.AsyncClient)


@pytest.mark.slow
def test_queries_are_sent_and_answers_come_back(run, server):
    assert run("retrieve", "u", k=3, filters={"exclude": ["b"]}, client={"token": "s"}) == ANSWER
    assert server.headers["authorization"] == "Bearer s"
    assert run("similar", ["a", 5], by="model") == ANSWER
    assert run("popular", k=2) == ANSWER
    assert run("latest", user="u") == ANSWER
    assert server.calls == [
        ("POST", "/v1/retrieve", {"user": "u", "k": 3, "filters": {"exclude": ["b"]}}),
        ("POST", "/v1/similar", {"items": ["a", 5], "by": "model"}),
        ("POST", "/v1/popular", {"k": 2}),
        ("POST", "/v1/latest", {"user": "u"}),
    ]


@pytest.mark.slow
def test_many_queries_events_and_descriptions(run, server):
    server.responses = [
        (200, msgspec.json.encode(AnswersBody([ANSWER, ANSWER])), {}),
        (202, b'{"accepted": 1}', {}),
        *[(200, b'{"x": 1}', {})] * 3,
    ]
    assert run("retrieve_many", [Request(user="u"), Request(user="v")]) == [ANSWER, ANSWER]
    assert run("send_events", [Interaction(id=1, ts=2, user="u", item="a", action="click")]) == 1
    assert run("item", "a/b ü") == run("user", 7) == run("version") == {"x": 1}
    assert [path for _, path, _ in server.calls[2:]] == ["/v1/items/a%2Fb%20%C3%BC", "/v1/users/7", "/v1/version"]


def test_a_field_that_does_not_exist_is_refused_before_anything_is_sent(run, server):
    with pytest.raises(msgspec.ValidationError, match="K"):
        run("retrieve", "u", K=3)
    assert not server.calls


@pytest.mark.parametrize("status", [429, 502, 503])
def test_a_call_that_may_succeed_later_is_repeated(run, server, status):
    server.responses = [(status, b"", {}), (status, b'{"detail": "later"}', {"Retry-After": "0"}), DONE]
    assert run("retrieve", "u") == ANSWER
    assert len(server.calls) == 3
    assert server.calls[0] == server.calls[2]


@pytest.mark.parametrize("status", [401, 404, 422, 500, 504])
def test_a_call_that_would_fail_again_is_not_repeated(run, server, status):
    server.responses = [(status, b'{"detail": "no"}', {})]
    with pytest.raises(ClientError, match=r"^no$") as error:
        run("retrieve", "u")
    assert error.value.status == status
    assert len(server.calls) == 1


def test_after_the_last_retry_the_servers_text_is_the_error(run, server):
    server.responses = [(503, b'{"detail": "no version yet"}', {})]
    with pytest.raises(ClientError, match="no version yet"):
        run("retrieve", "u", client={"retries": 1})
    assert len(server.calls) == 2
    with pytest.raises(ClientError, match="no version yet"):
        run("retrieve", "u", client={"retries": 0})
    assert len(server.calls) == 3


def test_a_pause_that_would_pass_the_time_of_the_call_is_not_begun(run, server):
    server.responses = [(429, b'{"detail": "wait"}', {"Retry-After": "3600"})]
    with pytest.raises(ClientError, match="wait") as error:
        run("retrieve", "u")
    assert error.value.retry_after == 3600
    assert len(server.calls) == 1


def test_a_server_that_is_away_is_said(run, server):
    server.http.shutdown()
    server.http.server_close()
    with pytest.raises(ClientError, match="does not answer") as error:
        run("version", client={"retries": 1})
    assert error.value.status == 0


def test_a_pause_doubles_and_the_time_left_is_that_of_the_whole_call():
    now = 10.0
    attempts = Attempts(2.0, retries=9, clock=lambda: now)
    busy = ClientError("busy", 503)
    assert [attempts.pause_after(busy) for _ in range(3)] == [0.05, 0.1, 0.2]
    now = 11.9
    assert attempts.left == pytest.approx(0.1)
    with pytest.raises(ClientError, match="busy"):
        attempts.pause_after(busy)
