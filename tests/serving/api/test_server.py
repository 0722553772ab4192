from __future__ import annotations

import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx
import msgspec
import pytest

from hsnn.serving.api.client import Client
from hsnn.serving.api.server import run
from hsnn.serving.config import ServingConfig
from hsnn.serving.errors import ClientError, ServerError
from hsnn.serving.schema import Filters, Request
from hsnn.streaming.redis.keys import key
from tests.paths import ROOT

_PROCESS = """
import sys
from pathlib import Path
from hsnn.serving.config import ServingConfig
from hsnn.serving.api.server import run
run(ServingConfig.model_validate_json(sys.argv[1]), sys.argv[2], Path(sys.argv[3]))
"""


class Process:
    """The server as a process of its own."""

    def __init__(self, redis_url: str, folder: Path, config: str = '{"port": 0}') -> None:
        self.port_file = folder / "port"
        self.popen = subprocess.Popen(
            [sys.executable, "-c", _PROCESS, config, redis_url, str(self.port_file)], cwd=ROOT
        )
        end = time.monotonic() + 30
        while not self.port_file.exists():
            assert self.popen.poll() is None, "the server ended"
            assert time.monotonic() < end, "the server did not start"
            time.sleep(0.02)
        self.url = f"http://127.0.0.1:{int(self.port_file.read_text())}"

    def wait_ready(self) -> None:
        end = time.monotonic() + 30
        while httpx.get(f"{self.url}/healthz/ready").status_code != 200:
            assert time.monotonic() < end, "the server did not become ready"
            time.sleep(0.02)

    def stop(self, number: int = signal.SIGTERM) -> int:
        self.popen.send_signal(number)
        try:
            return self.popen.wait(timeout=15)
        finally:
            self.popen.kill()


@pytest.mark.slow
def test_a_process_of_its_own_serves_and_ends_gracefully(redis_server, redis_client, plant, tmp_path, monkeypatch):
    monkeypatch.setenv("HSNN_TEST_TOKEN", "secret")
    log = tmp_path / "answers.jsonl"
    server = Process(redis_server, tmp_path, f'{{"port": 0, "token_env": "HSNN_TEST_TOKEN", "answer_log": "{log}"}}')
    try:
        assert httpx.get(f"{server.url}/healthz/live").status_code == 200
        assert httpx.get(f"{server.url}/healthz/ready").status_code == 503
        with Client(server.url, "secret") as client, pytest.raises(ClientError, match="no version") as refused:
            client.retrieve("u0")
        assert refused.value.status == 503
        plant.write(redis_client)
        redis_client.set(key("current"), 1)
        server.wait_ready()
        with Client(server.url, "secret") as client:
            answer = client.retrieve("u0", k=7, filters=Filters(exclude=["c0-5"]))
            assert set(answer.items) == {f"c0-{n}" for n in (3, 4, 6, 7, 8, 9)} | {answer.items[-1]}
            many = client.retrieve_many([Request(user="u1", k=3), Request(user="u2", mode="popularity", k=4)])
            assert [len(one.items) for one in many] == [3, 4]
            assert client.version()["version"] == 1
            began = time.perf_counter()
            for _ in range(20):
                client.retrieve("u0")
            assert time.perf_counter() - began < 0.6  # with Nagle's algorithm on, 20 answers take 0.8 s at least
            assert client.item("c0-1")["node"] == 0
            with pytest.raises(ClientError, match="a/b") as missing:
                client.item("a/b")
            assert missing.value.status == 404
            with pytest.raises(ClientError, match="known: beam"):
                client.retrieve("u0", mode="fancy")
        with Client(server.url, "wrong") as client, pytest.raises(ClientError) as unauthorized:
            client.version()
        assert unauthorized.value.status == 401
        assert len(log.read_text().splitlines()) == 23
    finally:
        code = server.stop()
    assert code == 0
    assert not server.port_file.exists()


@pytest.mark.slow
def test_an_interrupt_ends_it_as_well(redis_server, tmp_path):
    assert Process(redis_server, tmp_path).stop(signal.SIGINT) == 0


def test_a_taken_port_is_an_error_with_a_remedy(redis_server):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ServerError, match=f"{port}.*0 takes a free one"):
            run(ServingConfig(port=port), redis_server)


def test_a_client_without_a_server_says_so():
    with Client("http://127.0.0.1:9", timeout=1) as client, pytest.raises(ClientError, match="does not answer"):
        client.retrieve("u")


def test_a_request_survives_the_wire():
    request = Request(user=7, k=3, filters=Filters(items=["a"], features={"x": [1]}), history=["b"], context={"d": 1})
    assert msgspec.json.decode(msgspec.json.encode(request), type=Request) == request
    assert msgspec.json.encode(Request(user="a")) == b'{"user":"a"}'
