"""A server of two workers, over HTTP."""

from __future__ import annotations

import itertools
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from threading import Event, Thread
from typing import Any

import httpx
import msgspec
import pytest

from hsnn.serving.api.server import ServerSettings
from hsnn.serving.client.client import Client
from hsnn.serving.config import ServingConfig
from hsnn.serving.errors import ServerError, ServerTokenError
from hsnn.serving.workers.server import run
from hsnn.streaming.config import StreamingConfig
from hsnn.streaming.consumer.consumer import Consumer
from hsnn.streaming.log.open import open_log
from hsnn.streaming.redis.keys import key
from hsnn.streaming.schema.events import Interaction
from tests.paths import ROOT
from tests.serving import challenger
from tests.serving.server_process import SERVE, ServerProcess
from tests.waiting import wait_until

pytestmark = pytest.mark.slow

SERVE_WITH_WORKERS = (
    SERVE.replace("hsnn.serving.api.server import run", "hsnn.serving.workers.server import run")
    .replace("import sys", "import sys\nfrom hsnn.streaming.config import StreamingConfig")
    .replace("Path(sys.argv[3])))", "Path(sys.argv[3]), streaming=StreamingConfig(log=sys.argv[2])))")
)


class Workers(ServerProcess):
    """A server of two workers."""

    def __init__(self, redis_url: str, folder: Path, **config: object) -> None:
        whole = {"port": 0, "engine": False, "workers": 2, **config}
        super().__init__(redis_url, folder, json.dumps(whole, default=str), program=SERVE_WITH_WORKERS)

    @property
    def workers(self) -> dict[str, dict[str, Any]]:
        detail: dict[str, dict[str, Any]] = httpx.get(f"{self.url}/healthz/live").json()["detail"]["workers"]
        return detail

    def pids(self) -> list[int]:
        return [worker["pid"] for worker in self.workers.values()]

    def wait_all_ready(self) -> None:
        wait_until(lambda: all(worker["ready"] for worker in self.workers.values()), 500)

    def metric(self, name: str, **labels: str) -> float:
        """Sum of the samples of a metric that have these labels."""
        wanted = [f'{label}="{value}"' for label, value in labels.items()]
        return sum(
            float(line.rpartition(" ")[2])
            for line in httpx.get(f"{self.url}/metrics").text.splitlines()
            if re.match(rf"{name}[{{ ]", line) and all(label in line for label in wanted)
        )

    def retrieve(self, client: httpx.Client | None = None, **query: object) -> httpx.Response:
        return (client or httpx).post(f"{self.url}/v1/retrieve", json={"user": "u0", "k": 5, **query})

    @contextmanager
    def clients(self, count: int) -> Iterator[list[httpx.Client]]:
        """Clients that each keep a connection."""
        with ExitStack() as stack:
            opened = [stack.enter_context(httpx.Client(timeout=60)) for _ in range(count)]
            for client in opened:
                client.get(f"{self.url}/healthz/live")
            yield opened

    def wait_shared(self, clients: int) -> None:
        """Wait until each worker has half of the connections; one more asks for the metrics."""
        half = {clients // 2, clients // 2 + 1}
        wait_until(lambda: {self.metric("hsnn_worker_connections", worker=worker) for worker in "01"} <= half)


@pytest.fixture
def served(redis_server, redis_client, plant, tmp_path) -> Iterator[Callable[..., Workers]]:
    """Starts servers of a published version, and stops them."""
    plant.write(redis_client)
    redis_client.set(key("current"), 1)
    with ExitStack() as stack:

        def start(**config: object) -> Workers:
            server = Workers(redis_server, tmp_path, **config)
            stack.callback(server.popen.kill)
            server.wait_all_ready()
            return server

        yield start


def test_workers_share_the_work_answer_alike_and_count_together(served, tmp_path):
    log = tmp_path / "answers.jsonl"
    server = served(answer_log=log)
    with server.clients(8) as clients:
        server.wait_shared(8)
        with ThreadPoolExecutor(8) as pool:
            answers = [
                answer.json()
                for found in pool.map(lambda client: [server.retrieve(client) for _ in range(25)], clients)
                for answer in found
            ]
    assert len({tuple(answer["items"]) for answer in answers}) == 1
    assert len({answer["recommendation_id"] for answer in answers}) == 200
    assert server.metric("hsnn_requests_total", endpoint="retrieve", status="200") == 200
    assert server.metric("hsnn_request_seconds_count", endpoint="retrieve") == 200
    assert (server.metric("hsnn_index_version"), server.metric("hsnn_index_items")) == (1, 60)
    assert server.metric("hsnn_mirror_loads_total") == 1
    assert server.metric("process_resident_memory_bytes", worker="1") > 1e7
    assert "hsnn_checkpoint_seconds" not in httpx.get(f"{server.url}/metrics").text  # of the trainer
    assert server.stop() == 0
    lines = [json.loads(line) for line in log.read_bytes().splitlines()]
    assert {line["recommendation_id"] for line in lines} == {answer["recommendation_id"] for answer in answers}
    assert not server.port_file.exists()


def test_each_worker_follows_the_index_of_an_arm_beside_the_servers_own(served, redis_client, new_plant, tmp_path):
    challenger.flip(redis_client, challenger.write(challenger.fill(new_plant()), redis_client))
    server = served(experiment={"name": "two", "arms": challenger.ARMS})
    with server.clients(8) as clients:
        for client in clients:  # of either worker, between which they may be moved

            def both_answer(client: httpx.Client = client) -> bool:
                given = {user: server.retrieve(client, user=user).json() for user in ("u0", "u1", "u2", "u3")}
                for user, answer in given.items():
                    cluster = int(user[1:]) + 3 * (answer["index"] == challenger.PREFIX)
                    assert all(item.startswith(f"c{cluster % 6}-") for item in answer["items"])
                return {answer["index"] for answer in given.values()} == {"hsnn", challenger.PREFIX}

            wait_until(both_answer)
    assert server.metric("hsnn_arm_seconds_count", arm="other", role="served") >= 8
    assert (server.metric("hsnn_index_version"), server.metric("hsnn_arm_index_version", index=challenger.PREFIX)) == (
        1,
        1,
    )
    assert server.stop() == 0


def test_a_killed_worker_is_replaced_and_only_what_it_was_answering_is_lost(served):
    server = served()
    lost: list[str] = []
    answered, over = [0] * 6, Event()

    def ask(number: int) -> None:
        while not over.is_set():
            with httpx.Client(timeout=60) as client:  # a client that lost its connection opens another one
                try:
                    while not over.is_set():
                        assert server.retrieve(client).status_code == 200
                        answered[number] += 1
                except httpx.TransportError as error:
                    lost.append(str(error))

    asking = [Thread(target=ask, args=(number,)) for number in range(6)]
    for thread in asking:
        thread.start()
    wait_until(lambda: min(answered) > 20)
    before, killed = server.metric("hsnn_requests_total", endpoint="retrieve"), server.pids()[1]
    os.kill(killed, signal.SIGKILL)
    wait_until(lambda: server.pids()[1] not in (0, killed))
    server.wait_all_ready()
    # clients that kept their connections come to the new worker, too
    wait_until(lambda: server.metric("hsnn_worker_connections", worker="1") >= 3)
    seen = list(answered)
    wait_until(lambda: all(now > then + 20 for now, then in zip(answered, seen, strict=True)))
    over.set()
    for thread in asking:
        thread.join()
    assert len(lost) <= 6  # one request for each connection at most
    assert server.metric("hsnn_worker_restarts_total", worker="1") == 1
    assert server.metric("hsnn_worker_restarts_total", worker="0") == 0
    assert server.metric("hsnn_requests_total", endpoint="retrieve") >= before  # what the dead worker counted is kept
    assert server.stop() == 0


def test_a_connection_that_waits_is_not_lost_with_a_worker(served):
    server = served()
    pids = server.pids()
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    with ThreadPoolExecutor(20) as pool:
        waiting = [pool.submit(server.retrieve) for _ in range(20)]
        time.sleep(0.2)  # they are in the queue of the socket, and nobody takes them
        os.kill(pids[0], signal.SIGKILL)
        os.kill(pids[1], signal.SIGCONT)
        assert [answer.result(60).status_code for answer in waiting] == [200] * 20
    assert server.stop() == 0


def test_a_worker_that_cannot_answer_yet_gets_no_requests(served, redis_client):
    server = served()
    redis_client.delete(key("current"))
    killed = server.pids()[0]  # the one that keeps the mirror up to date
    os.kill(killed, signal.SIGKILL)
    wait_until(lambda: server.pids()[0] not in (0, killed))
    # the other one goes on from what is there, and says that it is out of date
    assert [server.retrieve().status_code for _ in range(40)] == [200] * 40
    assert not server.workers["0"]["ready"]
    assert not server.workers["1"]["ready"]
    ready = httpx.get(f"{server.url}/healthz/ready")
    assert ready.status_code == 503
    assert server.metric("hsnn_index_version") == 1
    redis_client.set(key("current"), 1)
    server.wait_all_ready()
    assert httpx.get(f"{server.url}/healthz/ready").status_code == 200
    assert server.stop() == 0


def begin_request(server: Workers) -> socket.socket:
    """Send a request but for the last byte of its body."""
    opened = socket.create_connection(("127.0.0.1", int(server.url.rpartition(":")[2])))
    opened.sendall(b'POST /v1/retrieve HTTP/1.1\r\nHost: x\r\nContent-Length: 13\r\n\r\n{"user":"u0"')
    wait_until(lambda: server.metric("hsnn_worker_connections") >= 1)
    return opened


def test_requests_that_run_are_answered_after_a_signal(served):
    server = served()
    opened = begin_request(server)
    workers = server.pids()
    time.sleep(0.3)
    # as a service manager does, which signals every process of a group
    for pid in (server.popen.pid, *workers):
        os.kill(pid, signal.SIGTERM)
    wait_until(lambda: refused(server.url))
    assert server.popen.poll() is None
    opened.sendall(b"}")
    answer = opened.recv(1 << 16)
    assert answer.startswith(b"HTTP/1.1 200")
    assert b"connection: close" in answer
    assert server.popen.wait(60) == 0
    opened.close()


def test_a_second_signal_ends_at_once(served):
    server = served()
    opened = begin_request(server)
    server.popen.send_signal(signal.SIGTERM)
    wait_until(lambda: refused(server.url))
    server.popen.send_signal(signal.SIGTERM)
    assert server.popen.wait(60) == 0
    assert not opened.recv(1 << 16).startswith(b"HTTP/1.1 200")
    opened.close()


def test_workers_do_not_outlive_their_supervisor(served):
    server = served()
    server.popen.kill()
    wait_until(lambda: refused(server.url))


def refused(url: str) -> bool:
    try:
        httpx.get(f"{url}/healthz/live", timeout=5)
    except httpx.TransportError:
        return True
    return False


def test_a_rate_is_that_of_all_workers_together(served, monkeypatch):
    monkeypatch.setenv("HSNN_TEST_TOKEN", "secret")
    server = served(tokens={"shop": {"env": "HSNN_TEST_TOKEN", "rate": 20}})
    headers = {"Authorization": "Bearer secret"}
    with server.clients(8) as clients:
        began = time.monotonic()
        codes = [
            client.post(f"{server.url}/v1/retrieve", json={"user": "u0"}, headers=headers).status_code
            for _ in range(10)
            for client in clients
        ]
        seconds = time.monotonic() - began
    assert set(codes) == {200, 429}
    assert 20 <= codes.count(200) <= 21 + 20 * seconds
    assert server.stop() == 0


def clicks(name: str, count: int) -> list[Interaction]:
    """Events of a user each, who is called like the event."""
    names = [f"{name}-{number}" for number in range(count)]
    return [Interaction(id=one, ts=1_700_000_000_000, user=one, item="a", action="click") for one in names]


def learned(redis_url: str) -> list[str]:
    """Users of the events in the log, as often as a trainer counts them."""
    log = open_log(redis_url)
    consumer = Consumer(log, StreamingConfig(log=redis_url, max_wait=0.0))
    users: list[str] = []
    while (batch := consumer.next_batch(0.1)) is not None:
        users += batch.engagements.user
    log.close()
    return sorted(users)


def test_events_come_to_all_workers_and_count_once(served, redis_server):
    server = served()
    with server.clients(8) as clients:
        server.wait_shared(8)
        with ThreadPoolExecutor(8) as pool:
            # the same from every connection, as from callers that repeat a call
            body = msgspec.json.encode(clicks("all", 20))
            answers = list(pool.map(lambda client: client.post(f"{server.url}/v1/events", content=body), clients))
    assert [answer.json() for answer in answers] == [{"accepted": 20}] * 8
    assert server.metric("hsnn_ingested_events_total", topic="engagements") == 8 * 20
    assert server.metric("hsnn_ingest_waiting_events") == 0
    assert learned(redis_server) == sorted(str(event.user) for event in clicks("all", 20))
    assert server.stop() == 0


def test_events_that_a_killed_worker_did_not_answer_are_sent_to_the_other_one(served, redis_server):
    server = served()
    accepted: list[str] = []
    over = Event()

    def send(number: int) -> None:
        with Client(server.url, timeout=60, retries=5) as client:
            for call in itertools.takewhile(lambda _: not over.is_set(), itertools.count()):
                events = clicks(f"{number}-{call}", 20)
                client.send_events(events)
                accepted.extend(str(event.user) for event in events)

    with ThreadPoolExecutor(4) as pool:
        sending = [pool.submit(send, number) for number in range(4)]
        wait_until(lambda: len(accepted) > 400)
        os.kill(server.pids()[1], signal.SIGKILL)
        before = len(accepted)
        wait_until(lambda: len(accepted) > before + 400)
        over.set()
        for one in sending:
            one.result(60)
    assert learned(redis_server) == sorted(accepted)
    assert server.stop() == 0


def test_rates_of_events_are_those_of_all_workers_together(served, monkeypatch):
    monkeypatch.setenv("HSNN_TEST_TOKEN", "secret")
    keys = {"page": {"key": "pk_0123456789abcdef", "origins": ["https://shop.example"], "address_rate": 1.0}}
    tokens = {"shop": {"env": "HSNN_TEST_TOKEN", "scopes": ["write"], "rate": 1.0}}
    server = served(tokens=tokens, ingest_keys=keys)
    ways = {"": {"Authorization": "Bearer secret"}, "?key=pk_0123456789abcdef": {"Origin": "https://shop.example"}}
    with server.clients(8) as clients:
        server.wait_shared(8)
        for path, headers in ways.items():
            # the first call uses up what the rate gives in minutes
            codes = [
                client.post(
                    f"{server.url}/v1/events{path}", content=msgspec.json.encode(clicks("x", count)), headers=headers
                ).status_code
                for client, count in zip([clients[0], *clients], [500, *[1] * 8], strict=True)
            ]
            assert codes == [202] + [429] * 8
    assert server.metric("hsnn_ingested_events_total") == 1000
    assert server.stop() == 0


def test_what_keeps_it_from_starting_is_said_once_and_in_words(redis_server, tmp_path):
    with pytest.raises(ServerError, match=r"serving\.tls_cert"):
        run(
            ServerSettings(
                ServingConfig(workers=2, port=0, tls_cert=tmp_path / "a", tls_key=tmp_path / "b"), redis_server
            )
        )
    with pytest.raises(ServerTokenError, match="HSNN_NO_SUCH_TOKEN"):
        run(ServerSettings(ServingConfig(workers=2, port=0, token_env="HSNN_NO_SUCH_TOKEN"), redis_server))
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ServerError, match=f"{port}.*0 takes a free one"):
            run(ServerSettings(ServingConfig(workers=2, port=port), redis_server))
    command = [sys.executable, "-m", "hsnn", "serve", "--workers", "2", "--set", f"redis.url={redis_server}"]
    log = ["--set", "serving.port=0", "--set", f"serving.answer_log={tmp_path}"]  # a folder
    ended = subprocess.run([*command, *log], cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert ended.returncode == 2
    assert ended.stderr.count("Traceback") == 1
    assert "hsnn: a worker could not start; its log says why" in ended.stderr
