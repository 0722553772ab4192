"""An event log in the memory of one process: for examples, tests, and whatever needs a log but no server."""

from __future__ import annotations

import itertools
import time
from collections.abc import Collection, Iterable, Mapping

from hsnn.streaming.errors import AppendError, OutOfRangeError, UnknownTopicError
from hsnn.streaming.log.base import ProducerRecord
from hsnn.streaming.log.partitioner import partition_of
from hsnn.streaming.log.records import Position, Record, RecordBatch

# Seconds between two looks for new records: short beside any timeout that a caller waits for them.
_POLL_SECONDS = 0.001


class MemoryLog:
    """An `EventLog` that is lost when the process ends.

    Examples
    --------
    >>> log = MemoryLog()
    >>> log.create_topic("greetings", 1)
    >>> log.append("greetings", [ProducerRecord(b"k", b"hello")])
    1
    >>> log.seek({("greetings", 0): 0})
    >>> log.poll(10, 0.0)[0].values
    [b'hello']
    """

    def __init__(self) -> None:
        self._topics: dict[str, list[list[Record]]] = {}
        self._groups: dict[str, dict[Position, int]] = {}
        self._next: dict[Position, int] = {}
        self._begins: dict[Position, int] = {}
        self._round_robin = itertools.count()

    def create_topic(self, topic: str, partitions: int, *, compacted: bool = False) -> None:  # noqa: ARG002
        """Create `topic` unless it exists; nothing is compacted."""
        if partitions < 1:
            raise ValueError(f"topic {topic!r} cannot have {partitions} partitions; give 1 or more")
        self._topics.setdefault(topic, [[] for _ in range(partitions)])

    def partitions(self, topic: str) -> list[int]:
        """Return the partition numbers of `topic`; empty if there is no such topic."""
        return list(range(len(self._topics.get(topic, ()))))

    def append(self, topic: str, records: Iterable[ProducerRecord]) -> int:
        """Append records."""
        if topic not in self._topics:
            raise UnknownTopicError(f"no topic {topic!r} in this process's log; create it first")
        written = 0
        for record in records:
            self._append(topic, record)
            written += 1
        return written

    def _append(self, topic: str, record: ProducerRecord) -> None:
        partitions = self._topics[topic]
        partition = record.partition
        if partition is None:
            key = record.key
            partition = next(self._round_robin) % len(partitions) if key is None else partition_of(key, len(partitions))
        if not 0 <= partition < len(partitions):
            raise AppendError(f"partition {partition} does not exist: the topic has {len(partitions)}")
        sent_at = time.time_ns() // 1_000_000 if record.sent_at is None else record.sent_at
        stored = partitions[partition]
        stored.append(
            Record(
                topic,
                partition,
                offset=len(stored),
                key=record.key,
                value=record.value,
                headers=record.headers,
                sent_at=sent_at,
            )
        )

    def flush(self) -> None:
        """Do nothing: appended records are not buffered."""

    def seek(self, positions: Mapping[Position, int]) -> None:
        """Read exactly these partitions from these offsets on."""
        self._next = dict(positions)

    def positions(self) -> dict[Position, int]:
        """Return the next offset to read, per partition of the last `seek`."""
        return dict(self._next)

    def poll(
        self, max_records: int, timeout: float, partitions: Collection[Position] | None = None
    ) -> list[RecordBatch]:
        """Read the next records; see `EventLog.poll`."""
        wanted = [p for p in (self._next if partitions is None else partitions) if p in self._next]
        deadline = time.monotonic() + timeout
        while True:
            if records := self._read(wanted, max(1, max_records // max(1, len(wanted)))):
                return records
            if time.monotonic() >= deadline:
                return []
            time.sleep(_POLL_SECONDS)

    def _read(self, wanted: list[Position], count: int) -> list[RecordBatch]:
        """Read up to `count` records of each of the partitions."""
        self._check_retained(wanted)
        batches: list[RecordBatch] = []
        for topic, partition in wanted:
            start = self._next[topic, partition]
            records = self._topics[topic][partition][start : start + count]
            self._next[topic, partition] = start + len(records)
            if records:
                batches.append(RecordBatch.from_records(records))
        return batches

    def _check_retained(self, wanted: list[Position]) -> None:
        for position in wanted:
            begin, expected = self._begins.get(position, 0), self._next[position]
            if expected < begin:
                raise OutOfRangeError(
                    f"{position[0]}/{position[1]}: the oldest record still held is {begin}, wanted {expected}"
                )

    def begin_positions(self, partitions: Iterable[Position]) -> dict[Position, int]:
        """Return the oldest offset still retained, per partition."""
        return {position: self._begins.get(position, 0) for position in partitions}

    def trim(self, position: Position, before: int) -> None:
        """Remove the records of a partition before this offset, as retention does."""
        topic, partition = position
        stored = self._topics[topic][partition]
        start = self._begins.get(position, 0)
        # Placeholders, so that the index of a record stays its offset.
        stored[start:before] = [Record(*position, -1, None, None, (), 0)] * (before - start)
        self._begins[position] = before

    def end_positions(self, partitions: Iterable[Position]) -> dict[Position, int]:
        """Return the offset after the last record, per partition."""
        return {(topic, partition): len(self._topics[topic][partition]) for topic, partition in partitions}

    def high_watermarks(self, partitions: Iterable[Position]) -> dict[Position, int]:
        """Return the end positions: there are no transactions."""
        return self.end_positions(partitions)

    def commit(self, group: str, positions: Mapping[Position, int]) -> None:
        """Publish positions under a group name."""
        self._groups.setdefault(group, {}).update(positions)

    def committed(self, group: str, partitions: Iterable[Position]) -> dict[Position, int]:
        """Return the positions last committed under a group name; partitions without one are left out."""
        offsets = self._groups.get(group, {})
        return {position: offsets[position] for position in partitions if position in offsets}

    def lag(self) -> int:
        """Count the records between the read positions and the end."""
        return sum(end - self._next[p] for p, end in self.end_positions(self._next).items())

    def close(self) -> None:
        """Do nothing: there are no connections."""
