"""Servers that tests share: a Redis-protocol one always, Apache Kafka where Java and Maven are."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from hsnn.embedded import EmbeddedRedis
from streaming.redis_client import Redis, connect


@pytest.fixture(scope="session")
def redis_server() -> Iterator[str]:
    """Address of an embedded Redis-protocol server of this test session."""
    with EmbeddedRedis() as server:
        yield server.url


@pytest.fixture
def redis_client(redis_server: str) -> Iterator[Redis]:
    """A connection to the session's server, emptied first."""
    client = connect(redis_server)
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

    with EmbeddedKafka() as server:
        yield server.url
