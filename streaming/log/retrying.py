"""An event log that retries while its server is unavailable, and detects records lost by a server's restart."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import TypeVar

from hsnn.streaming.errors import LogUnavailableError, OutOfRangeError, UnknownTopicError
from hsnn.streaming.log.base import EventLog, ProducerRecord
from hsnn.streaming.log.records import Position, RecordBatch
from hsnn.streaming.retry import RetryPolicy

# A broker that is starting may not know its topics yet.
_RETRYABLE_ERRORS = (LogUnavailableError, UnknownTopicError)
Result = TypeVar("Result")


class RetryingLog:
    """A decorator of an `EventLog`: repeats reads and commits by a retry policy until the server answers.

    `append` and `flush` are passed on: only the log itself can tell what it already holds.

    Parameters
    ----------
    log
        The log to call.
    retry_policy
        For how long.
    """

    def __init__(self, log: EventLog, retry_policy: RetryPolicy) -> None:
        self._log, self._retry_policy = log, retry_policy

    def __repr__(self) -> str:
        return f"RetryingLog({self._log!r})"

    def _call(self, operation: str, call: Callable[[], Result]) -> Result:
        return self._retry_policy.call(operation, call, _RETRYABLE_ERRORS)

    def create_topic(self, topic: str, partitions: int, *, compacted: bool = False) -> None:
        """Create `topic` unless it exists."""
        self._call("creating a topic", lambda: self._log.create_topic(topic, partitions, compacted=compacted))

    def partitions(self, topic: str) -> list[int]:
        """Return the partition numbers of `topic`."""
        return self._call("reading partitions", lambda: self._log.partitions(topic))

    def append(self, topic: str, records: Iterable[ProducerRecord]) -> int:
        """Append records; see the log."""
        return self._log.append(topic, records)

    def flush(self) -> None:
        """Wait until everything appended is acknowledged; see the log."""
        self._log.flush()

    def seek(self, positions: Mapping[Position, int]) -> None:
        """Read exactly these partitions from these offsets on."""
        self._call("assigning partitions", lambda: self._log.seek(positions))

    def poll(
        self, max_records: int, timeout: float, partitions: Collection[Position] | None = None
    ) -> list[RecordBatch]:
        """Read the next records; see `EventLog.poll`."""
        return self._call("reading the log", lambda: self._log.poll(max_records, timeout, partitions))

    def positions(self) -> dict[Position, int]:
        """Return the next offset to read, per partition of the last `seek`."""
        return self._log.positions()

    def begin_positions(self, partitions: Iterable[Position]) -> dict[Position, int]:
        """Return the oldest offset still retained, per partition."""
        wanted = list(partitions)
        return self._call("reading the log's begin", lambda: self._log.begin_positions(wanted))

    def end_positions(self, partitions: Iterable[Position]) -> dict[Position, int]:
        """Return the offset after the last record, per partition.

        Raises
        ------
        OutOfRangeError
            The log ends before what was read from it.
        """
        wanted = list(partitions)
        positions = self._log.positions()  # before the ends, since another thread may read on meanwhile
        ends = self._call("reading the log's end", lambda: self._log.end_positions(wanted))
        for position, read in positions.items():
            if ends.get(position, read) < read:
                raise OutOfRangeError(
                    f"{position[0]}/{position[1]} of {self._log!r} ends at {ends[position]}, and {read} was read: the "
                    "server lost records that it had acknowledged. New records would have offsets that were read "
                    "before: start from a checkpoint older than the loss, and let the log write to disk before it "
                    "acknowledges"
                )
        return ends

    def high_watermarks(self, partitions: Iterable[Position]) -> dict[Position, int]:
        """Return the offset after the last record, those of open transactions included, per partition."""
        wanted = list(partitions)
        return self._call("reading the log's end", lambda: self._log.high_watermarks(wanted))

    def commit(self, group: str, positions: Mapping[Position, int]) -> None:
        """Publish positions under a group name."""
        self._call("committing positions", lambda: self._log.commit(group, positions))

    def committed(self, group: str, partitions: Iterable[Position]) -> dict[Position, int]:
        """Return the positions last committed under a group name."""
        wanted = list(partitions)
        return self._call("reading committed positions", lambda: self._log.committed(group, wanted))

    def lag(self) -> int:
        """Count the records between the read positions and the end."""
        return self._call("reading the lag", self._log.lag)

    def close(self) -> None:
        """Close the connections."""
        self._log.close()
