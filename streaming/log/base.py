"""EventLog: the one contract behind ``kafka://`` and ``redis://``."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import NamedTuple, Protocol, runtime_checkable

from hsnn.streaming.log.records import Headers, Position, RecordBatch


class ProducerRecord(NamedTuple):
    """One record to append; the partition follows from the key unless it is given; without a key they take turns."""

    key: bytes | None
    value: bytes | None
    headers: Headers = ()
    sent_at: int | None = None
    partition: int | None = None


@runtime_checkable
class EventLog(Protocol):
    """An append-only, partitioned log. A position is the next offset to read; offsets grow, and may have gaps.

    (Redis Streams have none; Kafka has them after compaction and transactions.)
    """

    def create_topic(self, topic: str, partitions: int, *, compacted: bool = False) -> None:
        """Make `topic` unless it exists; an existing topic keeps its number of partitions."""

    def partitions(self, topic: str) -> list[int]:
        """Partition numbers of `topic`; empty if there is no such topic."""

    def append(self, topic: str, records: Iterable[ProducerRecord]) -> int:
        """Append records, durable at the latest after `flush`; return how many."""

    def flush(self) -> None:
        """Wait until everything appended is acknowledged; raise `AppendError` if anything was not."""

    def seek(self, positions: Mapping[Position, int]) -> None:
        """Read exactly these partitions from these offsets on (static ownership; no group rebalance)."""

    def poll(
        self, max_records: int, timeout: float, partitions: Collection[Position] | None = None
    ) -> list[RecordBatch]:
        """Read the next records, of some of the partitions of the last `seek` (of all, if not said).

        About `max_records` at most (at least one per partition may come), those of a partition together, none empty;
        waits at most `timeout` seconds for the first.
        """

    def positions(self) -> dict[Position, int]:
        """Next offset to read, per partition of the last `seek`; past gaps that hold no more records."""

    def begin_positions(self, partitions: Iterable[Position]) -> dict[Position, int]:
        """Oldest offset still held, per partition."""

    def end_positions(self, partitions: Iterable[Position]) -> dict[Position, int]:
        """Offset after the last record, per partition."""

    def commit(self, group: str, positions: Mapping[Position, int]) -> None:
        """Publish positions under a group name so that lag tools see them; never read back for training."""

    def committed(self, group: str, partitions: Iterable[Position]) -> dict[Position, int]:
        """Positions last committed under a group name; partitions without one are left out."""

    def lag(self) -> int:
        """Count the records between the read positions and the end, over the partitions of the last `seek`."""

    def close(self) -> None:
        """Give back connections."""
