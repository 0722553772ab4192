"""An event log that waits for its server when that is away, and notices when it comes back with less than it had."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import TypeVar

from hsnn.streaming.errors import LogUnavailableError, OutOfRangeError, UnknownTopicError
from hsnn.streaming.log.base import EventLog, Outgoing
from hsnn.streaming.log.records import Position, Records
from hsnn.streaming.log.retry import Patience

# A broker that starts may not know its topics yet.
_AWAY = (LogUnavailableError, UnknownTopicError)
Answer = TypeVar("Answer")


class PatientLog:
    """An `EventLog` in front of another one: what only reads, and commits, are repeated until the server answers.

    `append` and `flush` are the log's own business: only it can tell what is in it already.

    Parameters
    ----------
    log
        The log itself.
    patience
        For how long.
    """

    def __init__(self, log: EventLog, patience: Patience) -> None:
        self._log, self._patience = log, patience

    def __repr__(self) -> str:
        return f"PatientLog({self._log!r})"

    def _call(self, doing: str, call: Callable[[], Answer]) -> Answer:
        return self._patience.call(doing, call, _AWAY)

    def create_topic(self, topic: str, partitions: int, *, compacted: bool = False) -> None:
        """Make `topic` unless it exists."""
        self._call("creating a topic", lambda: self._log.create_topic(topic, partitions, compacted=compacted))

    def partitions(self, topic: str) -> list[int]:
        """Partition numbers of `topic`."""
        return self._call("reading partitions", lambda: self._log.partitions(topic))

    def append(self, topic: str, records: Iterable[Outgoing]) -> int:
        """Append records; see the log."""
        return self._log.append(topic, records)

    def flush(self) -> None:
        """Wait until everything appended is acknowledged; see the log."""
        self._log.flush()

    def seek(self, positions: Mapping[Position, int]) -> None:
        """Read exactly these partitions from these offsets on."""
        self._call("assigning partitions", lambda: self._log.seek(positions))

    def poll(self, max_records: int, timeout: float, partitions: Collection[Position] | None = None) -> list[Records]:
        """Read the next records; see `EventLog.poll`."""
        return self._call("reading the log", lambda: self._log.poll(max_records, timeout, partitions))

    def positions(self) -> dict[Position, int]:
        """Next offset to read, per partition of the last `seek`."""
        return self._log.positions()

    def begin_positions(self, partitions: Iterable[Position]) -> dict[Position, int]:
        """Oldest offset still held, per partition."""
        wanted = list(partitions)
        return self._call("asking for the log's beginning", lambda: self._log.begin_positions(wanted))

    def end_positions(self, partitions: Iterable[Position]) -> dict[Position, int]:
        """Offset after the last record, per partition.

        Raises
        ------
        OutOfRangeError
            The log ends before what was read from it.
        """
        wanted = list(partitions)
        ends = self._call("asking for the log's end", lambda: self._log.end_positions(wanted))
        for position, read in self._log.positions().items():
            if ends.get(position, read) < read:
                raise OutOfRangeError(
                    f"{position[0]}/{position[1]} of {self._log!r} ends at {ends[position]}, and {read} was read: the "
                    "server lost records that it had acknowledged. What comes now has offsets that were read before: "
                    "start from a checkpoint from before the loss, and let the log write to disk before it answers"
                )
        return ends

    def commit(self, group: str, positions: Mapping[Position, int]) -> None:
        """Publish positions under a group name."""
        self._call("committing positions", lambda: self._log.commit(group, positions))

    def committed(self, group: str, partitions: Iterable[Position]) -> dict[Position, int]:
        """Positions last committed under a group name."""
        wanted = list(partitions)
        return self._call("reading committed positions", lambda: self._log.committed(group, wanted))

    def lag(self) -> int:
        """Count the records between the read positions and the end."""
        return self._call("asking for the lag", self._log.lag)

    def close(self) -> None:
        """Give back connections."""
        self._log.close()
