"""Read a stretch of a log from one position to another, and stop."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from hsnn.streaming.log.base import EventLog
from hsnn.streaming.log.records import Position, Record

_AT_ONCE = 1000


def read_range(event_log: EventLog, begin: Mapping[Position, int], end: Mapping[Position, int]) -> Iterator[Record]:
    """Read the records of partitions from `begin` up to, not with, `end`; seeks, and nobody else may meanwhile.

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
    while behind := [place for place, at in event_log.positions().items() if at < end[place]]:
        for records in event_log.poll(_AT_ONCE, 1.0, behind):
            yield from records[: int(np.searchsorted(records.offsets, end[records.position]))]


def read_topic(event_log: EventLog, topic: str) -> Iterator[Record]:
    """Read all records that a topic holds now; none if there is no such topic."""
    places = [(topic, partition) for partition in event_log.partitions(topic)]
    yield from read_range(event_log, event_log.begin_positions(places), event_log.end_positions(places))
