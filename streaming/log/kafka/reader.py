"""The consumer of ``kafka://``: reads assigned partitions from given offsets, any subset of them at a time."""

from __future__ import annotations

import sys
import time
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
from kafka import KafkaConsumer, TopicPartition

from hsnn.streaming.log.kafka.bounded_batches import bound_batches
from hsnn.streaming.log.kafka.connect import connect_client
from hsnn.streaming.log.kafka.errors import translate_errors
from hsnn.streaming.log.records import Headers, Position, RecordBatch

# Options of every consumer.
_CONSUMER = {
    "auto_offset_reset": "none",  # a jump past lost records must be an error
    "isolation_level": "read_committed",
    "enable_auto_commit": False,
    "group_id": None,
    # Milliseconds. A fetch that waits at the end of quiet partitions delays the partitions that are polled next.
    "fetch_max_wait_ms": 50,
}
# Records of one partition, and their bytes, that may be buffered while other partitions are read.
_BUFFER_RECORDS, _BUFFER_BYTES = 4096, 16 << 20

# Milliseconds that the consumer may take to say its position; it is known unless the partition was just assigned.
_POSITION_MS = 1000


class KafkaReader:
    """Reads partitions of a Kafka cluster; the methods are those of `EventLog`.

    Parameters
    ----------
    where
        Address for messages.
    options
        For kafka-python's consumer.
    """

    def __init__(self, where: str, options: Mapping[str, Any]) -> None:
        bound_batches()
        self._where = where
        self._next: dict[Position, int] = {}
        self._paused: set[Position] = set()
        self._buffered: dict[Position, list[Any]] = {}
        self._bytes: dict[Position, int] = {}
        with translate_errors(where, "connecting a consumer"):
            self._consumer = connect_client(KafkaConsumer, {**_CONSUMER, **options})

    def seek(self, positions: Mapping[Position, int]) -> None:
        """Read exactly these partitions from these offsets on."""
        with translate_errors(self._where, "assigning partitions"):
            # Discards what was fetched for the previous assignment.
            self._consumer.unsubscribe()
            self._consumer.assign([TopicPartition(*position) for position in positions])
            for position, offset in positions.items():
                self._consumer.seek(TopicPartition(*position), offset)
        self._next, self._paused, self._buffered, self._bytes = dict(positions), set(), {}, {}

    def positions(self) -> dict[Position, int]:
        """Return the next offset to read, per partition of the last `seek`; past gaps that hold no more records."""
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
        if not any(p in self._buffered for p in wanted):
            self._fetch(set(wanted), timeout)
        ready = [p for p in wanted if p in self._buffered]
        share = max(1, max_records // max(1, len(ready)))
        return [self._pop(position, share) for position in ready]

    def _fetch(self, wanted: set[Position], timeout: float) -> None:
        """Fetch from these partitions, and from others of which little is buffered; buffer all that comes.

        Why a buffer of our own: kafka-python 3.0.12 never returns the rest of a partition's fetch once the partition is
        paused in the middle of it (`Fetcher.fetched_records` sets it aside while its slot holds another partition's
        exhausted fetch).
        """
        self._pause({p for p in self._buffered if self._buffer_full(p)} - wanted)
        with translate_errors(self._where, "reading the log"):
            fetched = self._consumer.poll(timeout_ms=int(timeout * 1000), max_records=sys.maxsize)
        for (topic, partition), records in fetched.items():
            self._buffered.setdefault((topic, partition), []).extend(records)
            self._bytes[topic, partition] = self._bytes.get((topic, partition), 0) + _size(records)
        if not fetched:
            self._pass_gaps()

    def _pop(self, position: Position, count: int) -> RecordBatch:
        """Remove up to `count` records of a partition from the buffer."""
        buffered = self._buffered.pop(position)
        if len(buffered) > count:
            self._buffered[position] = buffered[count:]
        records = buffered[:count]
        self._next[position] = records[-1].offset + 1
        self._bytes[position] -= _size(records)
        return _record_batch(position, records)

    def _buffer_full(self, position: Position) -> bool:
        return len(self._buffered[position]) >= _BUFFER_RECORDS or self._bytes[position] >= _BUFFER_BYTES

    def _pause(self, paused: set[Position]) -> None:
        self._consumer.resume(*(TopicPartition(*p) for p in self._paused - paused))
        self._consumer.pause(*(TopicPartition(*p) for p in paused - self._paused))
        self._paused = paused

    def _pass_gaps(self) -> None:
        """Advance positions past the offsets without records that compaction and transactions leave."""
        with translate_errors(self._where, "reading positions"):
            for position in self._next.keys() - self._buffered.keys():
                offset = self._consumer.position(TopicPartition(*position), _POSITION_MS) or 0
                self._next[position] = max(self._next[position], offset)

    def close(self) -> None:
        """Close the connection."""
        self._consumer.close()


def _size(records: Sequence[Any]) -> int:
    # `value` by its index: half the time of the access by name.
    return sum([len(record[7]) for record in records if record[7] is not None])


def _record_batch(position: Position, records: Sequence[Any]) -> RecordBatch:
    # ConsumerRecord: topic, partition, epoch, offset, timestamp, its type, key, value, headers, ...
    _, _, _, offsets, sent_at, _, keys, values, headers, *_ = zip(*records, strict=True)
    return RecordBatch(
        position,
        offsets=np.array(offsets, np.int64),
        keys=keys,
        values=values,
        headers=[_headers(pairs) if pairs else () for pairs in headers],
        sent_at=np.array(sent_at, np.int64),
    )


def _headers(pairs: Sequence[tuple[str, bytes | None]]) -> Headers:
    """Return headers with empty bytes for null, which Kafka allows as a value."""
    return tuple((name, value or b"") for name, value in pairs)
