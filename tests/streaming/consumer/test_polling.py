"""Polling goes on while there is more, and loses neither rows nor errors."""

from __future__ import annotations

import time
from collections.abc import Collection

import pytest

import hsnn.streaming.consumer.polling
from hsnn.streaming.config import StreamingConfig
from hsnn.streaming.consumer.consumer import Consumer
from hsnn.streaming.consumer.polling import BYTES_PER_POLL, MAX_RECORDS, FetchSize, Poller
from hsnn.streaming.decode.decoder import decode_records
from hsnn.streaming.decode.event_table import EventTable
from hsnn.streaming.errors import OutOfRangeError
from hsnn.streaming.log.base import ProducerRecord
from hsnn.streaming.log.memory import MemoryLog
from hsnn.streaming.log.records import Position, Record, RecordBatch
from hsnn.streaming.schema.arrow import write_interactions
from hsnn.streaming.schema.events import Interaction, encode
from hsnn.streaming.schema.topics import TopicRole
from tests.waiting import DEADLINE

POSITIONS: list[Position] = [("engagements", number) for number in range(3)]


class Failing(MemoryLog):
    """Counts its polls, and fails at one of them."""

    def __init__(self, fails: int = 0) -> None:
        super().__init__()
        self.polls, self._fails = 0, fails

    def poll(
        self, max_records: int, timeout: float, partitions: Collection[Position] | None = None
    ) -> list[RecordBatch]:
        self.polls += 1
        if self.polls == self._fails:
            raise OutOfRangeError("gone")
        return super().poll(max_records, timeout, partitions)


def make_poller(log: MemoryLog, *sizes: int) -> Poller:
    """A log with so many events in its partitions, and what polls it."""
    log.create_topic("engagements", len(POSITIONS))
    for (topic, partition), size in zip(POSITIONS, sizes, strict=True):
        events = [Interaction(id=at, ts=at, user="u", item="i", action="a") for at in range(size)]
        log.append(topic, [ProducerRecord(None, encode(event), partition=partition) for event in events])
    log.seek(dict.fromkeys(POSITIONS, 0))
    return Poller(log, lambda _, records: decode_records(TopicRole.ENGAGEMENTS, records))


def offsets(found: list[tuple[Position, EventTable]]) -> dict[Position, list[int]]:
    assert len({position for position, _ in found}) == len(found)
    return {position: rows.offset.tolist() for position, rows in found}


@pytest.mark.parametrize("sizes", [(0, 0, 0), (5, 0, 0), (1, 2, 3), (3000, 0, 2), (900, 700, 2000)])
def test_everything_that_is_there_comes_once_and_in_order(sizes: tuple[int, ...]) -> None:
    poller = make_poller(MemoryLog(), *sizes)
    found: dict[Position, list[int]] = {position: [] for position in POSITIONS}
    for _ in range(10):
        for position, some in offsets(poller.read(0.0, POSITIONS)).items():
            found[position] += some
    assert found == {position: list(range(size)) for position, size in zip(POSITIONS, sizes, strict=True)}


def test_one_read_polls_until_there_are_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hsnn.streaming.consumer.polling, "ROWS_PER_READ", 3 * MAX_RECORDS)
    log = Failing()
    poller = make_poller(log, 6 * MAX_RECORDS, 0, 0)
    first = len(offsets(poller.read(0.0, POSITIONS[:1]))[POSITIONS[0]])
    assert 3 * MAX_RECORDS <= first < 4 * MAX_RECORDS
    before = log.polls
    assert len(offsets(poller.read(0.0, POSITIONS[:1]))[POSITIONS[0]]) == 6 * MAX_RECORDS - first
    assert log.polls - before <= 4


def test_little_is_polled_once() -> None:
    log = Failing()
    poller = make_poller(log, 3, 2, 0)
    assert poller.read(0.0, POSITIONS)
    assert log.polls == 1
    poller._fetch_size.records = 1  # fewer than there are partitions
    assert poller.read(0.0, POSITIONS) == []
    assert log.polls == 2


@pytest.mark.parametrize("fails", [1, 2, 3])
def test_an_error_comes_behind_the_rows_that_were_read_before_it(fails: int) -> None:
    log = Failing(fails)
    poller = make_poller(log, 3000, 0, 0)
    found: list[int] = []
    if fails > 1:
        found += offsets(poller.read(0.0, POSITIONS))[POSITIONS[0]]
    with pytest.raises(OutOfRangeError, match="gone"):
        poller.read(0.0, POSITIONS)
    for _ in range(3):
        found += offsets(poller.read(0.0, POSITIONS)).get(POSITIONS[0], [])
    assert found == list(range(3000))


def test_an_error_is_forgotten_when_the_log_is_sought() -> None:
    poller = make_poller(Failing(2), 3000, 0, 0)
    assert poller.read(0.0, POSITIONS)
    poller.reset()
    assert poller.read(0.0, POSITIONS)


def records(count: int, size: int) -> list[RecordBatch]:
    return [RecordBatch.from_records([Record("t", 0, at, None, b"x" * size, (), 0) for at in range(count)])]


def test_single_events_are_read_by_thousands() -> None:
    fetch_size = FetchSize()
    fetch_size.update(records(64, 200), 64)
    assert fetch_size.records == MAX_RECORDS


def test_large_records_are_read_by_few_and_one_at_least() -> None:
    fetch_size = FetchSize()
    fetch_size.update(records(4, 1 << 20), 4)
    assert fetch_size.records == BYTES_PER_POLL >> 20
    fetch_size.update(records(1, 10), 1_000_000)
    assert fetch_size.records == 1
    fetch_size.update([], 0)
    assert fetch_size.records == 1


class Counting(MemoryLog):
    """Knows how many records were read."""

    read = 0

    def poll(
        self, max_records: int, timeout: float, partitions: Collection[Position] | None = None
    ) -> list[RecordBatch]:
        found = super().poll(max_records, timeout, partitions)
        self.read += sum(map(len, found))
        return found


def test_little_is_read_ahead_of_records_with_many_events() -> None:
    log = Counting()
    log.create_topic("engagements", 1)
    n = 4096
    value = write_interactions([893_286_638_000] * n, ["u"] * n, ["i"] * n, ["a"] * n)
    log.append("engagements", [ProducerRecord(None, value, (), 1) for _ in range(300)])
    consumer = Consumer(log, StreamingConfig(log="memory", partitions=1, dedup_window=0.0), prefetch=True)
    assert consumer.next_batch(DEADLINE) is not None
    time.sleep(0.3)
    assert log.read < 80
    consumer.close()
