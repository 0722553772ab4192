from __future__ import annotations

import asyncio
from threading import Event

import pytest

from hsnn.serving.errors import BackpressureError, DeadlineError, EventsNotTakenError
from hsnn.serving.ingest.appender import EventAppender
from hsnn.serving.ingest.events import IngestBatch
from hsnn.serving.metrics import ServingMetrics
from hsnn.streaming.config import StreamingConfig
from hsnn.streaming.errors import AppendError, LogUnavailableError
from hsnn.streaming.log.base import ProducerRecord
from hsnn.streaming.log.memory import MemoryLog
from hsnn.streaming.schema.topics import TopicRole
from tests.waiting import DEADLINE

CONFIG = StreamingConfig()


def events_of(value: bytes) -> list[bytes]:
    """Values of the events of a record, which have neither brackets nor commas here."""
    return value.strip(b"[]").split(b",")


class RecordingLog(MemoryLog):
    """Notes appends and flushes; each append waits for `gate`, and fails on a value that begins with ``bad``."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[str] = []
        self.gate = Event()
        self.gate.set()
        self.entered = Event()
        self.broken = False

    def append(self, topic, records):
        self.entered.set()
        assert self.gate.wait(DEADLINE)
        records = list(records)
        if self.broken:
            raise LogUnavailableError("no connection to redis://secret-host")
        events = [event for record in records for event in events_of(record.value)]
        if any(event.startswith(b"bad") for event in events):
            raise AppendError("too large")
        self.calls.append(f"{topic} {len(events)}")
        return super().append(topic, records)

    def flush(self):
        self.calls.append("flush")


def batch(*values: bytes, role: TopicRole = TopicRole.ENGAGEMENTS) -> IngestBatch:
    made = IngestBatch(0)
    for value in values:
        made.add(role, ProducerRecord(b"k", value, (), 5))
    return made


def values(log: MemoryLog, topic: str = CONFIG.engagements_topic) -> list[bytes]:
    parts = [(topic, partition) for partition in log.partitions(topic)]
    log.seek(dict.fromkeys(parts, 0))
    return sorted(event for records in log.poll(10_000, 0) for value in records.values for event in events_of(value))


@pytest.fixture
def log():
    return RecordingLog()


@pytest.fixture
def metrics():
    return ServingMetrics()


@pytest.fixture
def appender(log, metrics):
    made = EventAppender(lambda: log, CONFIG, metrics, most_waiting=100)
    yield made
    log.gate.set()
    made.close()


def test_a_call_is_answered_after_its_events_were_flushed(appender, log, metrics):
    asyncio.run(appender.append(batch(b"a", b"b"), 30.0))
    assert log.calls == ["engagements 2", "flush"]
    assert values(log) == [b"a", b"b"]
    assert metrics.registry.get_sample_value("hsnn_ingested_events_total", {"topic": "engagements"}) == 2


def test_items_come_before_the_engagements_that_name_them(appender, log):
    both = batch(b"a")
    both.add(TopicRole.ITEMS, ProducerRecord(b"i", b"item", (), 5))
    both.add(TopicRole.USERS, ProducerRecord(b"u", b"user", (), 5))
    asyncio.run(appender.append(both, 30.0))
    assert log.calls == ["items 1", "users 1", "engagements 1", "flush"]


def held(appender, log, *later: IngestBatch, seconds: float = 30.0):
    """Append a batch that the log holds up, later ones meanwhile, and let go; return the results."""

    async def run():
        log.gate.clear()
        first = asyncio.create_task(appender.append(batch(b"first"), 30.0))
        await asyncio.to_thread(log.entered.wait, 30)
        rest = [asyncio.create_task(appender.append(one, seconds)) for one in later]
        await asyncio.sleep(0)
        if seconds < 1:
            await asyncio.wait(rest)
        log.gate.set()
        return await asyncio.gather(first, *rest, return_exceptions=True)

    return asyncio.run(run())


def test_calls_that_wait_are_appended_together(appender, log):
    assert held(appender, log, batch(b"a"), batch(b"b", b"c"), batch(b"d")) == [None] * 4
    assert log.calls == ["engagements 1", "flush", "engagements 4", "flush"]


def test_what_the_log_refuses_fails_its_own_call_alone(appender, log):
    first, good, bad, other = held(appender, log, batch(b"a"), batch(b"bad"), batch(b"c"))
    assert (first, good, other) == (None, None, None)
    assert isinstance(bad, EventsNotTakenError)
    assert values(log) == [b"a", b"c", b"first"]


def test_more_than_may_wait_is_refused_and_not_appended(appender, log):
    *taken, refused = held(appender, log, batch(*[b"x"] * 99), batch(b"y"))
    assert taken == [None, None]
    assert isinstance(refused, BackpressureError)
    assert refused.retry_after > 0
    assert b"y" not in values(log)
    asyncio.run(appender.append(batch(b"y"), 30.0))  # what was appended waits no longer


def test_one_call_may_be_larger_than_what_may_wait(appender, log):
    asyncio.run(appender.append(batch(*[b"x"] * 500), 30.0))
    assert len(values(log)) == 500


def test_a_call_that_gave_up_while_it_waited_is_not_appended(appender, log):
    first, late = held(appender, log, batch(b"late"), seconds=0.01)
    assert first is None
    assert isinstance(late, DeadlineError)
    asyncio.run(appender.append(batch(b"z"), 30.0))
    assert values(log) == [b"first", b"z"]


def test_a_log_that_is_away_is_said_once_and_used_again_when_it_is_back(appender, log, metrics, caplog):
    log.broken = True
    for _ in range(3):
        with pytest.raises(EventsNotTakenError, match="same ids") as refused:
            asyncio.run(appender.append(batch(b"a"), 30.0))
        assert "secret-host" not in str(refused.value)  # pages in browsers read it
    assert sum("not appended" in line for line in caplog.messages) == 1
    assert metrics.registry.get_sample_value("hsnn_ingest_failures_total") == 3
    log.broken = False
    asyncio.run(appender.append(batch(b"a"), 30.0))
    assert metrics.registry.get_sample_value("hsnn_ingest_waiting_events") == 0


def test_a_log_that_cannot_be_opened_is_opened_by_a_later_call(log, metrics):
    attempts = []

    def open_log():
        attempts.append(1)
        if len(attempts) < 3:
            raise LogUnavailableError("not up yet")
        return log

    appender = EventAppender(open_log, CONFIG, metrics)
    with pytest.raises(EventsNotTakenError):
        asyncio.run(appender.append(batch(b"a"), 30.0))
    asyncio.run(appender.append(batch(b"b"), 30.0))
    appender.close()
    assert values(log) == [b"b"]


def test_what_was_taken_over_is_appended_before_the_end(log, metrics):
    appender = EventAppender(lambda: log, CONFIG, metrics)

    async def run():
        task = asyncio.create_task(appender.append(batch(b"a"), 30.0))
        await asyncio.sleep(0)
        await asyncio.to_thread(appender.close)
        await task

    asyncio.run(run())
    assert values(log) == [b"a"]
