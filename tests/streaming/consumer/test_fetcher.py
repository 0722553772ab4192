"""Both fetchers give the same batches; the prefetching one is bounded, raises errors, and ends."""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Collection, Iterable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import hsnn.streaming.consumer.fetcher
from hsnn.streaming.config import StreamingConfig
from hsnn.streaming.consumer.consumer import Consumer
from hsnn.streaming.consumer.fetcher import DirectFetcher, PrefetchingFetcher
from hsnn.streaming.decode.decoder import decode_records
from hsnn.streaming.decode.event_table import EventTable
from hsnn.streaming.errors import LogUnavailableError, OutOfRangeError
from hsnn.streaming.log.base import ProducerRecord
from hsnn.streaming.log.memory import MemoryLog
from hsnn.streaming.log.records import Position, RecordBatch
from hsnn.streaming.schema.batch import Batch
from hsnn.streaming.schema.events import Interaction, Item, encode
from hsnn.streaming.schema.topics import TopicRole
from tests.waiting import DEADLINE, eventually, wait_until

CONFIG = StreamingConfig(log="memory", batch_size=16, max_wait=0.0, partitions=3)
FIRST: Position = ("engagements", 0)


class ScriptedLog(MemoryLog):
    """A log that gives as many records per poll as it is told, and notes who polls."""

    def __init__(self, sizes: list[int] | None = None) -> None:
        super().__init__()
        self.sizes, self.polls, self.pollers = sizes or [], 0, set[str]()
        self.failure: Exception | None = None

    def poll(
        self, max_records: int, timeout: float, partitions: Collection[Position] | None = None
    ) -> list[RecordBatch]:
        if self.failure is not None:
            failure, self.failure = self.failure, None
            raise failure
        self.polls += 1
        self.pollers.add(threading.current_thread().name)
        size = self.sizes[self.polls % len(self.sizes)] if self.sizes else max_records
        return super().poll(min(size, max_records), min(timeout, 0.002), partitions)


def filled(log: ScriptedLog, events: int) -> ScriptedLog:
    for topic, partitions in (("engagements", 3), ("items", 3), ("users", 3), ("control", 3)):
        log.create_topic(topic, partitions)
    for at in range(events):
        event = Interaction(ts=893_286_638_000 + 1000 * at, id=at, user=f"u{at % 7}", item=f"i{at % 11}", action="view")
        log.append("engagements", [ProducerRecord(f"u{at % 7}".encode(), encode(event), (), 1)])
        if at % 20 == 0:
            log.append("items", [ProducerRecord(b"i", encode(Item(ts=event.ts, id=f"i{at}")), (), 1)])
    return log


def batches(consumer: Consumer) -> list[tuple[object, ...]]:
    found = []
    while (batch := consumer.next_batch(0.02)) is not None or consumer.lag()[0]:
        if batch is not None:
            found.append(contents(batch))
    consumer.close()
    return found


def contents(batch: Batch) -> tuple[object, ...]:
    return (
        *batch.engagements.user,
        *batch.engagements.item,
        *(item.id for item in batch.items),
        tuple(batch.positions.items()),
        batch.watermark,
    )


@pytest.mark.slow  # at the end of every stream both wait for what does not come
@given(st.integers(0, 200), st.lists(st.integers(1, 40), min_size=1, max_size=6))
@settings(deadline=None, max_examples=15)
def test_the_same_batches_with_either_fetcher_and_any_poll_size(events: int, sizes: list[int]) -> None:
    expected = batches(Consumer(filled(ScriptedLog(), events), CONFIG))
    assert batches(Consumer(filled(ScriptedLog(sizes), events), CONFIG, prefetch=True)) == expected
    assert sum(len(one) > 0 for one in expected) >= events // CONFIG.batch_size


def test_a_state_taken_while_more_was_read_goes_on_where_delivery_stood() -> None:
    expected = batches(Consumer(filled(ScriptedLog(), 200), CONFIG))
    log = filled(ScriptedLog(), 200)
    first = Consumer(log, CONFIG, prefetch=True)
    found = [contents(batch) for _ in range(3) if (batch := first.next_batch(DEADLINE)) is not None]
    state = first.state_dict()
    first.close()
    assert found + batches(Consumer(log, CONFIG, state=state, prefetch=True)) == expected


def test_what_is_prefetched_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    log = filled(ScriptedLog([10]), 2000)
    fetcher = PrefetchingFetcher(log, lambda _, records: decode_records(TopicRole.ENGAGEMENTS, records), max_rows=50)
    monkeypatch.setattr(hsnn.streaming.consumer.fetcher, "_IDLE_POLL_INTERVAL", 0.0)
    fetcher.seek({FIRST: 0})
    wait_until(lambda: log.positions()[FIRST] >= 30)
    time.sleep(0.2)
    assert 25 <= sum(len(rows) for _, rows in fetcher.read(0.0, [FIRST])) <= 60
    assert fetcher.positions()[FIRST] <= 60
    fetcher.close()


def test_the_log_is_polled_while_a_batch_is_learned(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hsnn.streaming.consumer.fetcher, "_IDLE_POLL_INTERVAL", 0.2)
    log = filled(ScriptedLog(), 40)
    consumer = Consumer(log, CONFIG, prefetch=True)
    assert consumer.next_batch(DEADLINE) is not None
    before = log.polls
    assert eventually(lambda: log.polls > before)  # during a long step
    assert log.pollers == {"read-ahead"}
    consumer.close()


@pytest.mark.slow  # counts the polls of more than a second
def test_little_is_polled_until_somebody_waits() -> None:
    log = filled(ScriptedLog(), 40)
    fetcher = PrefetchingFetcher(log, lambda _, records: decode_records(TopicRole.ENGAGEMENTS, records), max_rows=50)
    fetcher.seek({FIRST: 0, ("engagements", 1): 0})
    time.sleep(0.3)
    before, begun = log.polls, time.monotonic()
    time.sleep(1.0)
    polls = log.polls - before
    assert polls <= 2 + (time.monotonic() - begun), "one a second"
    assert fetcher.read(0.0, [FIRST])
    log.append("engagements", [ProducerRecord(None, b"late", (), 1, 0)])
    assert fetcher.read(DEADLINE, [FIRST])
    fetcher.close()


def test_who_asks_without_waiting_gets_new_rows_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hsnn.streaming.consumer.fetcher, "_IDLE_POLL_INTERVAL", 60.0)
    log = filled(ScriptedLog(), 0)
    fetcher = PrefetchingFetcher(log, lambda _, records: decode_records(TopicRole.ENGAGEMENTS, records), max_rows=50)
    fetcher.seek({FIRST: 0})
    time.sleep(0.2)
    log.append("engagements", [ProducerRecord(None, b"late", (), 1, 0)])
    assert eventually(lambda: fetcher.read(0.0, [FIRST]))
    fetcher.close()


def until_it_fails(consumer: Consumer) -> None:
    for _ in range(2000):
        consumer.next_batch(0.05)


def test_an_error_of_the_log_reaches_the_consumer_and_reading_goes_on() -> None:
    log = filled(ScriptedLog(), 40)
    consumer = Consumer(log, CONFIG, prefetch=True)
    log.failure = LogUnavailableError("gone for a moment")
    with pytest.raises(LogUnavailableError, match="gone for a moment"):
        until_it_fails(consumer)
    log.append(
        "engagements", [ProducerRecord(b"u", encode(Interaction(ts=1, id="x", user="u", item="i", action="a")), (), 1)]
    )
    for _ in range(2000):
        if (batch := consumer.next_batch(0.05)) is not None and batch.dead_lettered:
            break
    assert batch is not None, "the event, which is too old, was read after the error"
    consumer.close()


@pytest.mark.slow
def test_the_thread_ends_with_its_consumer() -> None:
    def alive() -> int:
        return sum(thread.name == "read-ahead" for thread in threading.enumerate())

    before = alive()
    consumer = Consumer(filled(ScriptedLog(), 40), CONFIG, prefetch=True)
    assert alive() == before + 1
    del consumer
    gc.collect()
    assert eventually(lambda: alive() == before)


def test_reading_when_asked_uses_no_thread() -> None:
    log = filled(ScriptedLog(), 40)
    fetcher = DirectFetcher(log, lambda _, records: decode_records(TopicRole.ENGAGEMENTS, records))
    fetcher.seek({FIRST: 0})
    assert fetcher.read(0.0, [FIRST])
    assert log.pollers == {"MainThread"}


class LostRestLog(ScriptedLog):
    """Gives half of a partition, then only the other one, then says that the rest of the first one is gone."""

    def poll(
        self, max_records: int, timeout: float, partitions: Collection[Position] | None = None
    ) -> list[RecordBatch]:
        gone = self.positions()[FIRST] >= 100 and FIRST in (partitions or ())
        if gone and self.polls >= 300:
            raise OutOfRangeError("engagements/0: gone")
        time.sleep(0.001)
        return super().poll(max_records, timeout, [p for p in partitions or () if not gone or p != FIRST])


@pytest.mark.slow
def test_an_error_reaches_who_waits_for_one_partition_while_rows_of_others_lie_ready() -> None:
    log = LostRestLog([1])
    for topic in ("engagements", "items", "users", "control"):
        log.create_topic(topic, 2)
    for at in range(800):
        event = Interaction(ts=893_286_638_000 + 1000 * at, id=at, user="u", item="i", action="view")
        log.append("engagements", [ProducerRecord(b"u", encode(event), (), 1, partition=at % 2)])
    consumer = Consumer(log, CONFIG, prefetch=True)
    with pytest.raises(OutOfRangeError, match="gone"):
        until_it_fails(consumer)
    consumer.close()


class FailingEndsLog(ScriptedLog):
    """Does not know its ends when it is asked for them after the first records were read."""

    failed = False

    def end_positions(self, partitions: Iterable[Position]) -> dict[Position, int]:
        if any(self.positions().values()) and not self.failed:
            self.failed = True
            raise LogUnavailableError("away")
        return super().end_positions(partitions)


def test_nothing_is_lost_where_only_the_ends_could_not_be_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hsnn.streaming.consumer.fetcher, "END_OFFSETS_MAX_AGE", 0.0)
    log = filled(FailingEndsLog([1]), 60)
    fetcher = PrefetchingFetcher(log, lambda _, records: decode_records(TopicRole.ENGAGEMENTS, records), max_rows=500)
    fetcher.seek({("engagements", number): 0 for number in range(3)})
    found, failed = 0, 0
    deadline = time.monotonic() + DEADLINE
    while (found < 60 or not failed) and time.monotonic() < deadline:
        try:
            found += sum(len(rows) for _, rows in fetcher.read(0.05, [("engagements", n) for n in range(3)]))
        except LogUnavailableError:
            failed += 1
    assert (found, failed) == (60, 1)
    fetcher.close()


@pytest.mark.slow  # waits for more than a second for what must not come
def test_a_seek_forgets_what_is_just_being_decoded() -> None:
    log, decoding, go_on = filled(ScriptedLog(), 40), threading.Event(), threading.Event()

    def decode(_: Position, records: RecordBatch) -> EventTable:
        decoding.set()
        go_on.wait(0.3)
        return decode_records(TopicRole.ENGAGEMENTS, records)

    fetcher = PrefetchingFetcher(log, decode, max_rows=500)
    held = len(log._topics["engagements"][0])
    assert held > 2
    fetcher.seek({FIRST: 0})
    assert decoding.wait(DEADLINE)
    fetcher.seek({FIRST: held - 1})
    go_on.set()
    found = []
    deadline = time.monotonic() + 1.0
    while time.monotonic() < deadline:
        found += fetcher.read(0.05, [FIRST])
    assert sum(len(rows) for _, rows in found) == 1
    fetcher.close()


class HangingLog(ScriptedLog):
    """A log whose client does not return from a poll until it is let."""

    def __init__(self) -> None:
        super().__init__([1])
        self.let = threading.Event()
        self.let.set()

    def poll(
        self, max_records: int, timeout: float, partitions: Collection[Position] | None = None
    ) -> list[RecordBatch]:
        self.let.wait(DEADLINE)
        return super().poll(max_records, timeout, partitions)


def test_a_poll_that_does_not_return_is_seen_by_who_asks() -> None:
    log = filled(HangingLog(), 40)
    consumer = Consumer(log, CONFIG, prefetch=True)
    log.let.clear()
    consumer.next_batch(0.05)
    assert eventually(lambda: consumer.poll_seconds() > 0.05)
    log.let.set()
    consumer.close()
    assert consumer.poll_seconds() == 0.0
