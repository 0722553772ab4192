"""The event log behind each of its addresses, for suites that every implementation has to pass."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from hsnn.streaming.log.base import EventLog
from hsnn.streaming.log.memory import MemoryLog
from hsnn.streaming.log.open import open_log


@pytest.fixture(params=["memory", "redis", pytest.param("kafka", marks=pytest.mark.kafka)])
def log(request: pytest.FixtureRequest) -> Iterator[EventLog]:
    """An empty log in memory, or one of the session's servers; topics of a test need names of their own there."""
    if request.param == "memory":
        yield MemoryLog()
        return
    opened = open_log(request.getfixturevalue({"redis": "redis_server", "kafka": "kafka_url"}[request.param]))
    yield opened
    opened.close()
