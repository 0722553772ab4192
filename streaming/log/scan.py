"""Read a log from one position to another, and stop."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from hsnn.streaming.log.base import EventLog
from hsnn.streaming.log.records import Position, Record

# Records per poll: many to a round trip, few enough that a thousand large dead letters fit into memory.
_RECORDS_PER_POLL = 1000

# Seconds that one poll waits for records; the range ends at a known offset, so they are there or on their way.
_POLL_SECONDS = 1.0


def read_range(event_log: EventLog, begin: Mapping[Position, int], end: Mapping[Position, int]) -> Iterator[Record]:
    """Read the records of partitions from the offsets `begin` up to, excluding, `end`.

    It seeks: use a log that nobody else reads meanwhile.

    Examples
    --------
    >>> from hsnn.streaming.log.base import ProducerRecord
    >>> from hsnn.streaming.log.memory import MemoryLog
    >>> log = MemoryLog()
    >>> log.create_topic("t", 1)
    >>> log.append("t", [ProducerRecord(b"k", b"%d" % n) for n in range(5)])
    5
    >>> [record.value for record in read_range(log, {("t", 0): 1}, {("t", 0): 3})]
    [b'1', b'2']
    """
    event_log.seek(begin)
    while behind := [position for position, offset in event_log.positions().items() if offset < end[position]]:
        for records in event_log.poll(_RECORDS_PER_POLL, _POLL_SECONDS, behind):
            yield from records[: int(np.searchsorted(records.offsets, end[records.position]))]


def read_topic(event_log: EventLog, topic: str) -> Iterator[Record]:
    """Read all records that a topic holds at the time of the call; none if there is no such topic."""
    positions = [(topic, partition) for partition in event_log.partitions(topic)]
    yield from read_range(event_log, event_log.begin_positions(positions), event_log.end_positions(positions))
