"""What is read at once is bounded, whatever a record holds."""

from __future__ import annotations

import time
from collections.abc import Collection

from hsnn.streaming.config import StreamingConfig
from hsnn.streaming.consumer.consumer import Consumer
from hsnn.streaming.consumer.fetch_size import AT_ONCE, BYTES, Appetite
from hsnn.streaming.log.base import Outgoing
from hsnn.streaming.log.memory import MemoryLog
from hsnn.streaming.log.records import Position, Record, Records
from hsnn.streaming.schema.arrow import write_interactions


def records(count: int, size: int) -> list[Records]:
    return [Records.of([Record("t", 0, at, None, b"x" * size, (), 0) for at in range(count)])]


def test_single_events_are_read_by_thousands() -> None:
    appetite = Appetite()
    appetite.note(records(64, 200), 64)
    assert appetite.records == AT_ONCE


def test_large_records_are_read_by_few_and_one_at_least() -> None:
    appetite = Appetite()
    appetite.note(records(4, 1 << 20), 4)
    assert appetite.records == BYTES >> 20
    appetite.note(records(1, 10), 1_000_000)
    assert appetite.records == 1
    appetite.note([], 0)
    assert appetite.records == 1


class Counting(MemoryLog):
    """Knows how many records were read."""

    read = 0

    def poll(self, max_records: int, timeout: float, partitions: Collection[Position] | None = None) -> list[Records]:
        found = super().poll(max_records, timeout, partitions)
        self.read += sum(map(len, found))
        return found


def test_little_is_read_ahead_of_records_with_many_events() -> None:
    log = Counting()
    log.create_topic("engagements", 1)
    n = 4096
    value = write_interactions([893_286_638_000] * n, ["u"] * n, ["i"] * n, ["a"] * n)
    log.append("engagements", [Outgoing(None, value, (), 1) for _ in range(300)])
    consumer = Consumer(log, StreamingConfig(log="memory", partitions=1, dedup_window=0.0), ahead=True)
    assert consumer.next_batch(10.0) is not None
    time.sleep(0.3)
    assert log.read < 80
    consumer.close()
