"""Servers that tests share: a Redis-protocol one always, Apache Kafka where Java and Maven are."""

from __future__ import annotations

import gc
import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # as in production; must be known before numpy and torch are loaded

# Servers that tests start answer by plain Python: the first one of a clone would compile kernels for minutes.
os.environ.setdefault("HSNN_SERVING__ENGINE", "false")

from collections.abc import Generator, Hashable, Iterator

import pytest

from hsnn.monitoring.process.gc_tuning import freeze_heap
from hsnn.streaming.redis.client import Redis, connect
from tests import servers
from tests.long_first import deal


@pytest.fixture(scope="session")
def redis_server() -> Iterator[str]:
    """Address of an embedded Redis-protocol server of this test session."""
    with servers.running("embedded") as url:
        yield url


def pytest_configure(config: pytest.Config) -> None:
    """Try properties on the same examples in every run, however slow the machine is: fewer without the slow tests."""
    if not config.getoption("--hypothesis-profile"):
        from hypothesis import HealthCheck, settings

        settings.register_profile(
            "suite",
            deadline=None,
            derandomize=True,  # --hypothesis-profile=default looks for new ones
            max_examples=25 if "not slow" in config.option.markexpr else 100,
            suppress_health_check=[HealthCheck.too_slow],
        )
        settings.load_profile("suite")


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Look for garbage neither while tests are collected nor among what is imported: it took a quarter of the time."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()
        freeze_heap()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """In several processes, begin with what takes long; what needs the broker runs in one of them."""
    if processes := int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "0")):
        items[:] = deal(items, _long_group, processes)


def _long_group(item: pytest.Item) -> Hashable:
    if item.get_closest_marker("kafka"):
        return "kafka"
    long = item.get_closest_marker("long")
    return None if long is None else (long.args or item.path)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run what is marked `every_server` on every kind of server there is."""
    if metafunc.definition.get_closest_marker("every_server"):
        metafunc.fixturenames.insert(0, "server_kind")
        # a cluster is three servers: each call takes several times as long as on one
        slow = {"cluster": pytest.mark.slow}
        kinds = [pytest.param(kind, marks=slow.get(kind, ())) for kind in servers.KINDS]
        metafunc.parametrize("server_kind", kinds, indirect=True, scope="session")


@pytest.fixture(scope="session")
def server_kind(request: pytest.FixtureRequest) -> str:
    """Kind of server that a test runs on: the embedded one unless it is marked `every_server`."""
    return str(getattr(request, "param", "embedded"))


@pytest.fixture(scope="session")
def other_server() -> Iterator[str]:
    """Address of the server that REDIS_SERVER names."""
    with servers.running("redis") as url:
        yield url


@pytest.fixture(scope="session")
def cluster() -> Iterator[str]:
    """Address of a cluster of three nodes."""
    with servers.running("cluster") as url:
        yield url


@pytest.fixture(scope="session")
def server_url(request: pytest.FixtureRequest, server_kind: str) -> str:
    """Address of the server that a test runs on; once started, it stays up as long as the session."""
    fixture = {"embedded": "redis_server", "redis": "other_server", "cluster": "cluster"}[server_kind]
    return str(request.getfixturevalue(fixture))


@pytest.fixture
def redis_client(server_url: str) -> Iterator[Redis]:
    """A connection to the test's server, emptied first."""
    client = connect(server_url)
    client.flushall()
    yield client
    client.close()


@pytest.fixture(scope="session")
def kafka_tools() -> None:
    """Java, and Kafka's jar files or Maven to fetch them; without them a skip, with REQUIRE_KAFKA=1 a failure."""
    from hsnn.embedded.kafka import missing_tools

    if missing := missing_tools():
        message = f"no Kafka to test against: {missing}; install it or set KAFKA_BOOTSTRAP=HOST:PORT"
        if os.environ.get("REQUIRE_KAFKA") == "1":
            pytest.fail(message)
        pytest.skip(message)


@pytest.fixture(scope="session")
def kafka_url(request: pytest.FixtureRequest) -> Iterator[str]:
    """Address of a real Kafka broker: the one KAFKA_BOOTSTRAP names, else an embedded one."""
    if bootstrap := os.environ.get("KAFKA_BOOTSTRAP"):
        yield f"kafka://{bootstrap}"
        return
    request.getfixturevalue("kafka_tools")
    from hsnn.embedded.kafka import EmbeddedKafka

    server = EmbeddedKafka().start()
    yield server.url
    server.kill()  # nothing of it is needed any more: to end in order takes it ten seconds
