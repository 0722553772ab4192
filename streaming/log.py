"""EventLog: the one contract behind ``kafka://`` and ``redis://``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple, Protocol

from streaming.columns import Position


class Record(NamedTuple):
    """One record of a log; `value` None marks a deletion in a compacted topic."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...]
    sent_at: int


class Outgoing(NamedTuple):
    """One record to append; the partition follows from the key."""

    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...] = ()
    sent_at: int | None = None


class EventLog(Protocol):
    """An append-only, partitioned log. Offsets are dense integers from 0 on; a position is the next offset to read."""

    def create_topic(self, topic: str, partitions: int, *, compacted: bool = False) -> None:
        """Make `topic` unless it exists."""

    def partitions(self, topic: str) -> list[int]:
        """Partition numbers of `topic`."""

    def append(self, topic: str, records: Iterable[Outgoing]) -> int:
        """Append records, durable at the latest after `flush`; return how many."""

    def flush(self) -> None:
        """Wait until everything appended is acknowledged; raise if anything was not."""

    def seek(self, positions: Mapping[Position, int]) -> None:
        """Read exactly these partitions from these offsets on (static ownership; no group rebalance)."""

    def poll(self, max_records: int, timeout: float) -> list[Record]:
        """Up to `max_records` next records, in offset order per partition; waits at most `timeout` seconds for the first."""

    def begin_positions(self, partitions: Iterable[Position]) -> dict[Position, int]:
        """Oldest offset still held, per partition."""

    def end_positions(self, partitions: Iterable[Position]) -> dict[Position, int]:
        """Offset after the last record, per partition."""

    def commit(self, group: str, positions: Mapping[Position, int]) -> None:
        """Publish positions under a group name so that lag tools see them; never read back for training."""

    def committed(self, group: str, partitions: Iterable[Position]) -> dict[Position, int]:
        """Positions last committed under a group name; partitions without one are left out."""

    def lag(self) -> int:
        """Records between the read positions and the end, over the partitions of the last `seek`."""

    def close(self) -> None:
        """Give back connections."""
