"""`EventLog`, the protocol of the logs behind ``kafka://`` and ``redis://``, and the records they append."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import NamedTuple, Protocol, runtime_checkable

from hsnn.streaming.log.records import Headers, Position, RecordBatch


class ProducerRecord(NamedTuple):
    """One record to append.

    Its partition is `partition` if given, else follows from the key; records with neither go to the partitions in turn.
    `sent_at` is epoch ms; None stands for the time of the append.
    """

    key: bytes | None
    value: bytes | None
    headers: Headers = ()
    sent_at: int | None = None
    partition: int | None = None


@runtime_checkable
class EventLog(Protocol):
    """An append-only, partitioned log. A position is the next offset to read; offsets ascend, and may have gaps.

    Kafka leaves gaps after compaction and transactions; Redis Streams have none.
    """

    def create_topic(self, topic: str, partitions: int, *, compacted: bool = False) -> None:
        """Create `topic` unless it exists; an existing topic keeps its number of partitions."""

    def partitions(self, topic: str) -> list[int]:
        """Return the partition numbers of `topic` as they are now; empty if there is no such topic."""

    def append(self, topic: str, records: Iterable[ProducerRecord]) -> int:
        """Append records, which are durable at the latest after `flush`; return how many."""

    def flush(self) -> None:
        """Wait until everything appended is acknowledged; raise `AppendError` if anything was not."""

    def seek(self, positions: Mapping[Position, int]) -> None:
        """Read exactly these partitions from these offsets on (static assignment; no group rebalance)."""

    def poll(
        self, max_records: int, timeout: float, partitions: Collection[Position] | None = None
    ) -> list[RecordBatch]:
        """Read the next records of `partitions`, a subset of those of the last `seek`; None reads all of them.

        Returns one non-empty batch per partition that has records, with about `max_records` records in total, but up to
        one per partition in any case. Waits at most `timeout` seconds for the first record.
        """

    def positions(self) -> dict[Position, int]:
        """Return the next offset to read, per partition of the last `seek`; past gaps that hold no more records."""

    def begin_positions(self, partitions: Iterable[Position]) -> dict[Position, int]:
        """Return the oldest offset still retained, per partition."""

    def end_positions(self, partitions: Iterable[Position]) -> dict[Position, int]:
        """Return the offset after the last record, per partition."""

    def high_watermarks(self, partitions: Iterable[Position]) -> dict[Position, int]:
        """Return the offset after the last record, those of open transactions included, per partition."""

    def commit(self, group: str, positions: Mapping[Position, int]) -> None:
        """Publish positions under a group name for lag tools; training resumes from its checkpoint instead."""

    def committed(self, group: str, partitions: Iterable[Position]) -> dict[Position, int]:
        """Return the positions last committed under a group name; partitions without one are left out."""

    def lag(self) -> int:
        """Count the records between the read positions and the end, over the partitions of the last `seek`."""

    def close(self) -> None:
        """Close the connections."""


@runtime_checkable
class StatesDurability(Protocol):
    """A log that can say what an acknowledged record survives."""

    def durability(self) -> str:
        """Say what a record survives after `EventLog.flush`, in a sentence without its subject."""
