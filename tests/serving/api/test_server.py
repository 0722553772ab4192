from __future__ import annotations

import resource
import select
import signal
import socket
import ssl
import subprocess
import time
from pathlib import Path
from statistics import median
from threading import Thread

import httpx
import msgspec
import pytest

from hsnn.serving.api.listening import bind
from hsnn.serving.api.server import ServerSettings, run
from hsnn.serving.client.client import Client
from hsnn.serving.config import ServingConfig
from hsnn.serving.errors import ClientError, ServerError
from hsnn.serving.limits import RetrievalLimits
from hsnn.serving.mirror.mirror import Mirror
from hsnn.serving.schema import Filters, Request, RetrievalMode, SimilarRequest
from hsnn.serving.search.retrieval import retrieve
from hsnn.serving.search.similar import similar
from hsnn.streaming.redis.keys import key
from tests.base_installation import BASE_INSTALLATION
from tests.serving.server_process import SERVE, ServerProcess


def test_answers_do_not_wait_for_acknowledgements():
    """asyncio switches Nagle's algorithm off for sockets that name TCP alone; with it every answer takes 40 ms more."""
    with bind(ServingConfig(port=0)) as listening:
        assert listening.proto == socket.IPPROTO_TCP


@pytest.mark.slow
@pytest.mark.long("compiled kernels")
@pytest.mark.timeout(600)
def test_a_process_of_its_own_serves_and_ends_gracefully(redis_server, redis_client, plant, tmp_path, monkeypatch):
    monkeypatch.setenv("HSNN_TEST_TOKEN", "secret")
    log = tmp_path / "answers.jsonl"
    config = f'{{"port": 0, "token_env": "HSNN_TEST_TOKEN", "answer_log": "{log}"}}'
    server = ServerProcess(redis_server, tmp_path, config)
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
            assert client.item("c0-1")["node"] == 0
            with pytest.raises(ClientError, match="a/b") as missing:
                client.item("a/b")
            assert missing.value.status == 404
            with pytest.raises(ClientError, match="known: beam"):
                client.retrieve("u0", mode="fancy")
        with Client(server.url, "wrong") as client, pytest.raises(ClientError) as unauthorized:
            client.version()
        assert unauthorized.value.status == 401
        assert len(log.read_text().splitlines()) == 3
    finally:
        code = server.stop()
    assert code == 0
    assert not server.port_file.exists()


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("shape", [{}, {"over_arch": "mlp", "cross": True, "preset": "small"}], ids=str)
def test_a_base_installation_answers_in_every_mode(redis_server, redis_client, new_plant, tmp_path, shape):
    plant, mirror, limits = new_plant(**shape), Mirror(), RetrievalLimits(whole_leaves=True)
    for number in range(40):
        plant.add(f"i{number}", number % 6)
    for item in ("i1", "i8", "i20"):
        plant.engage("u0", item)
    plant.write(redis_client)
    redis_client.set(key("current"), 1)
    plant.load(mirror)
    modes = [mode for mode in RetrievalMode if mode != "exact" or mirror.state.index.scorer.has_dot_product_scores]
    server = ServerProcess(redis_server, tmp_path, '{"port": 0}', program=BASE_INSTALLATION + SERVE)
    try:
        server.wait_ready()
        with Client(server.url) as client:
            for mode in modes:
                found = client.retrieve("u0", mode=mode, k=5)
                [wanted] = retrieve(mirror, [Request(user="u0", mode=mode, k=5)], limits)
                assert found.scores == pytest.approx(wanted.scores, abs=2e-6, rel=2e-6)
                assert found.items == wanted.items
            like = SimilarRequest(items=["i1"], k=3)
            assert client.similar(["i1"], k=3).items == similar(mirror, like, limits).items
            assert len(client.retrieve("u0", k=3, explain=True).reasons) == 3
    finally:
        server.stop()


@pytest.mark.slow
def test_an_interrupt_ends_it_as_well(redis_server, tmp_path):
    assert ServerProcess(redis_server, tmp_path).stop(signal.SIGINT) == 0


def test_a_taken_port_is_an_error_with_a_remedy(redis_server):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ServerError, match=f"{port}.*0 takes a free one"):
            run(ServerSettings(ServingConfig(port=port), redis_server))


@pytest.mark.slow
def test_health_is_quick_and_memory_bounded_whatever_clients_send(redis_server, redis_client, plant, tmp_path):
    plant.write(redis_client)
    redis_client.set(key("current"), 1)
    server = ServerProcess(redis_server, tmp_path, '{"port": 0, "engine": false, "max_body": 7000000}')
    try:
        server.wait_ready()
        # where the event loop read or answered such a request, most pages would wait for half of one and more
        page, request = _seconds_of_health_page_and_request(server.url)
        assert page < 0.4 * request
        # 100 clients send 6.9 MB each of a body that has 7 MB and never ends: 690 MB
        address, before = ("127.0.0.1", int(server.url.rpartition(":")[2])), _resident_bytes(server.popen.pid)
        head = b"POST /v1/retrieve HTTP/1.1\r\nHost: x\r\nContent-Length: 7000000\r\n\r\n"
        opened = [socket.create_connection(address) for _ in range(100)]
        for connection in opened:
            connection.sendall(head)
            connection.setblocking(False)
        _send_at_once(opened, b"x" * 6_900_000)
        assert httpx.post(f"{server.url}/v1/retrieve", json={"user": "u0"}).status_code == 200
        assert _resident_bytes(server.popen.pid) - before < 2 * 8 * 7_000_000 + 100 * 500_000
        for connection in opened:
            connection.close()
    finally:
        assert server.stop() == 0


def _seconds_of_health_page_and_request(url: str) -> tuple[float, float]:
    """Medians of health pages, and of the requests of 6 MB that two clients send meanwhile, one after the other."""
    ids = [f"{number:060}" for number in range(95_000)]  # of at most 100,000
    body = msgspec.json.encode({"user": "u0", "filters": {"exclude": ids, "items": ["c0-5"]}})
    pages: list[float] = []
    requests: list[float] = []

    def ask() -> None:
        with httpx.Client(timeout=60) as client:
            for _ in range(6):
                began = time.perf_counter()
                if client.post(f"{url}/v1/retrieve", content=body).status_code == 200:
                    requests.append(time.perf_counter() - began)

    asking = [Thread(target=ask) for _ in range(2)]
    with httpx.Client(timeout=60) as probe:
        probe.get(f"{url}/healthz/live")
        for thread in asking:
            thread.start()
        while any(thread.is_alive() for thread in asking):
            began = time.perf_counter()
            assert probe.get(f"{url}/healthz/live").status_code == 200
            pages.append(time.perf_counter() - began)
            time.sleep(0.005)
    assert len(requests) == 12
    return median(pages), median(requests)


def _send_at_once(opened: list[socket.socket], body: bytes) -> None:
    """Send a body over all connections until the server takes no more of any."""
    left = {connection: memoryview(body) for connection in opened}
    while left:
        _, writable, _ = select.select([], list(left), [], 0.5)
        if not writable:
            return
        for connection in writable:
            left[connection] = left[connection][connection.send(left[connection][:65_536]) :]
            if not left[connection]:
                del left[connection]


def _resident_bytes(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * resource.getpagesize()


@pytest.fixture
def certificate(tmp_path) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1 that signs itself, and its key."""
    cert, key_file = tmp_path / "cert.pem", tmp_path / "key.pem"
    kind = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=127.0.0.1"
    options = [*kind.split(), "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key_file, "-out", cert]
    subprocess.run(["openssl", *options], check=True, capture_output=True)
    return cert, key_file


@pytest.mark.slow
def test_with_a_certificate_it_serves_https(redis_server, tmp_path, certificate):
    cert, key_file = certificate
    server = ServerProcess(
        redis_server, tmp_path, f'{{"port": 0, "engine": false, "tls_cert": "{cert}", "tls_key": "{key_file}"}}'
    )
    try:
        https = server.url.replace("http:", "https:") + "/healthz/live"
        assert httpx.get(https, verify=ssl.create_default_context(cafile=str(cert))).status_code == 200
        with pytest.raises(httpx.TransportError):
            httpx.get(server.url + "/healthz/live")
    finally:
        assert server.stop() == 0


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["missing", "not PEM", "another key"])
def test_a_certificate_that_cannot_be_used_is_an_error_with_a_remedy(redis_server, tmp_path, certificate, fault):
    cert, key_file = certificate
    if fault == "missing":
        key_file.unlink()
    elif fault == "not PEM":
        cert.write_text("no certificate")
    else:
        subprocess.run(["openssl", "genrsa", "-out", key_file, "2048"], check=True, capture_output=True)
    with pytest.raises(ServerError, match=r"serving\.tls_.*PEM"):
        run(ServerSettings(ServingConfig(port=0, tls_cert=cert, tls_key=key_file), redis_server))


def test_a_client_without_a_server_says_so():
    with Client("http://127.0.0.1:9", timeout=1) as client, pytest.raises(ClientError, match="does not answer"):
        client.retrieve("u")


def test_a_request_survives_the_wire():
    request = Request(user=7, k=3, filters=Filters(items=["a"], features={"x": [1]}), history=["b"], context={"d": 1})
    assert msgspec.json.decode(msgspec.json.encode(request), type=Request) == request
    assert msgspec.json.encode(Request(user="a")) == b'{"user":"a"}'
