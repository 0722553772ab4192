"""The reading half of ``kafka://``: assigned partitions, from given offsets, some of them at a time."""

from __future__ import annotations

import sys
import time
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
from kafka import KafkaConsumer, TopicPartition

from hsnn.streaming.log.kafka.errors import translate_errors
from hsnn.streaming.log.records import Headers, Position, RecordBatch

_CONSUMER = {
    "auto_offset_reset": "none",  # jumping over lost records would lose them in silence
    "isolation_level": "read_committed",
    "enable_auto_commit": False,
    "group_id": None,
    # A fetch that waits at the end of quiet partitions holds back those that are asked for next.
    "fetch_max_wait_ms": 50,
}
# Records of one partition, and their bytes, that may wait here while others are read.
_AHEAD, _AHEAD_BYTES = 4096, 16 << 20


class KafkaReader:
    """Read partitions of a Kafka cluster; the methods are those of `EventLog`.

    Parameters
    ----------
    where
        Address for messages.
    options
        For kafka-python's consumer.
    """

    def __init__(self, where: str, options: Mapping[str, Any]) -> None:
        self._where = where
        self._next: dict[Position, int] = {}
        self._paused: set[Position] = set()
        self._held: dict[Position, list[Any]] = {}
        self._bytes: dict[Position, int] = {}
        with translate_errors(where, "connecting a consumer"):
            self._consumer = KafkaConsumer(**{**_CONSUMER, **options})

    def seek(self, positions: Mapping[Position, int]) -> None:
        """Read exactly these partitions from these offsets on."""
        with translate_errors(self._where, "assigning partitions"):
            # What was fetched for the assignment before must not come up again.
            self._consumer.unsubscribe()
            self._consumer.assign([TopicPartition(*position) for position in positions])
            for position, offset in positions.items():
                self._consumer.seek(TopicPartition(*position), offset)
        self._next, self._paused, self._held, self._bytes = dict(positions), set(), {}, {}

    def positions(self) -> dict[Position, int]:
        """Next offset to read, per partition of the last `seek`; past gaps that hold no more records."""
        return dict(self._next)

    def poll(
        self, max_records: int, timeout: float, partitions: Collection[Position] | None = None
    ) -> list[RecordBatch]:
        """Read the next records; see `EventLog.poll`.

        Raises
        ------
        OutOfRangeError
            Retention removed records that were still to be read.
        """
        wanted = [p for p in (self._next if partitions is None else partitions) if p in self._next]
        if not wanted:
            time.sleep(timeout)
            return []
        if not any(p in self._held for p in wanted):
            self._fetch(set(wanted), timeout)
        full = [p for p in wanted if p in self._held]
        share = max(1, max_records // max(1, len(full)))
        return [self._take(position, share) for position in full]

    def _fetch(self, wanted: set[Position], timeout: float) -> None:
        """Read what the brokers have of these partitions, and of others as long as little of them waits here.

        All that was fetched: kafka-python 3.0.12 never returns the rest of a partition's fetch once the partition is
        paused in the middle of it (`Fetcher.fetched_records` keeps it aside while the place it belongs into holds
        another partition's exhausted fetch), hence `_held`.
        """
        self._pause({p for p in self._held if self._plenty(p)} - wanted)
        with translate_errors(self._where, "reading the log"):
            found = self._consumer.poll(timeout_ms=int(timeout * 1000), max_records=sys.maxsize)
        for (topic, partition), some in found.items():
            self._held.setdefault((topic, partition), []).extend(some)
            self._bytes[topic, partition] = self._bytes.get((topic, partition), 0) + _size(some)
        if not found:
            self._pass_gaps()

    def _take(self, position: Position, count: int) -> RecordBatch:
        held = self._held.pop(position)
        if len(held) > count:
            self._held[position] = held[count:]
        taken = held[:count]
        self._next[position] = taken[-1].offset + 1
        self._bytes[position] -= _size(taken)
        return _records(position, taken)

    def _plenty(self, position: Position) -> bool:
        return len(self._held[position]) >= _AHEAD or self._bytes[position] >= _AHEAD_BYTES

    def _pause(self, paused: set[Position]) -> None:
        self._consumer.resume(*(TopicPartition(*p) for p in self._paused - paused))
        self._consumer.pause(*(TopicPartition(*p) for p in paused - self._paused))
        self._paused = paused

    def _pass_gaps(self) -> None:
        """Compaction and transactions leave offsets without records; the consumer knows how far it is past them."""
        with translate_errors(self._where, "reading positions"):
            for position in self._next.keys() - self._held.keys():
                there = self._consumer.position(TopicPartition(*position), 1000) or 0
                self._next[position] = max(self._next[position], there)

    def close(self) -> None:
        """Give back the connection."""
        self._consumer.close()


def _size(found: Sequence[Any]) -> int:
    return sum([len(one[7]) for one in found if one[7] is not None])  # by place: half the time of by name


def _records(position: Position, found: Sequence[Any]) -> RecordBatch:
    # ConsumerRecord: topic, partition, epoch, offset, timestamp, its type, key, value, headers, ...
    _, _, _, offsets, sent_at, _, keys, values, theirs, *_ = zip(*found, strict=True)
    headers = [_headers(one) if one else () for one in theirs]
    return RecordBatch(position, np.array(offsets, np.int64), keys, values, headers, np.array(sent_at, np.int64))


def _headers(found: Sequence[tuple[str, bytes | None]]) -> Headers:
    """Headers as text and bytes; Kafka allows null for the latter."""
    return tuple((name, content or b"") for name, content in found)
