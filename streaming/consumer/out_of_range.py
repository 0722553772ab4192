"""Offsets that the log no longer holds, or does not hold yet: stop with an explanation, or reset them by policy."""

from __future__ import annotations

import logging
import time
from collections.abc import Collection, Mapping
from typing import Any, NamedTuple, cast

from prometheus_client import Counter

from hsnn.streaming.config import OnLostOffsets
from hsnn.streaming.consumer.offsets import PartitionProgress
from hsnn.streaming.errors import OutOfRangeError
from hsnn.streaming.log.base import EventLog
from hsnn.streaming.log.records import Position, RecordBatch

_log = logging.getLogger(__name__)

# Seconds between checks of a log's bounds while it returns nothing: each check is two requests.
_CHECK_INTERVAL = 1.0

RECORDS_LOST = Counter(
    "hsnn_records_lost_total", "Records that were skipped because the log no longer held them.", ["topic"]
)


class OutOfRangePosition(NamedTuple):
    """A partition whose next record the log does not hold.

    Attributes
    ----------
    position
    wanted
        Offset of that record.
    begin, end
        What the log holds: from `begin` to before `end`.
    """

    position: Position
    wanted: int
    begin: int
    end: int

    @property
    def log_was_truncated(self) -> bool:
        """Whether the log ends before the record: it was replaced, or lost its end."""
        return self.wanted > self.end

    def resume_offset(self, policy: OnLostOffsets) -> int:
        """Return the offset to go on from."""
        return self.begin if policy == "earliest" else self.end

    def lost_records(self, policy: OnLostOffsets) -> int:
        """Count the records that are skipped; none where the log was replaced by a shorter one."""
        return max(0, self.resume_offset(policy) - self.wanted)

    def describe(self) -> str:
        """Say what is wrong, and what the choices are.

        Examples
        --------
        >>> print(OutOfRangePosition(("engagements", 1), 5, 1000, 3000).describe()[:102])
        engagements/1: the next record to learn is 5, the log holds 1,000 to 2,999: 995 records were removed b
        """
        topic, partition = self.position
        held = (
            f"{self.begin:,} to {self.end - 1:,}" if self.end > self.begin else f"none, the next will be {self.end:,}"
        )
        if self.wanted < self.begin:
            cause = f"{self.begin - self.wanted:,} records were removed before they were learned"
            remedy = "raise the log's retention; start from a newer checkpoint, or from none"
        else:
            cause = "the log was replaced, or lost its end"
            remedy = "point `streaming.log` at the right one, or start without a checkpoint"
        return (
            f"{topic}/{partition}: the next record to learn is {self.wanted:,}, the log holds {held}: {cause}. Choose: "
            f"{remedy}; or `hsnn train --on-lost-offsets earliest` goes on at {self.begin:,} and counts "
            f"{self.lost_records('earliest'):,} as lost, `latest` at {self.end:,} and {self.lost_records('latest'):,}"
        )


def find_out_of_range(event_log: EventLog, positions: Mapping[Position, int]) -> list[OutOfRangePosition]:
    """Find the offsets that lie outside of what the log holds."""
    begin, end = event_log.begin_positions(positions), event_log.end_positions(positions)
    return [
        OutOfRangePosition(position, wanted, begin[position], end[position])
        for position, wanted in positions.items()
        if not begin[position] <= wanted <= end[position]
    ]


def reset_offsets(out_of_range: list[OutOfRangePosition], policy: OnLostOffsets) -> dict[Position, int]:
    """Return the offsets to go on from by the policy; log and count what is lost.

    Raises
    ------
    OutOfRangeError
        There is an offset out of range, and the policy is to stop.
    """
    if out_of_range and policy == "fail":
        raise OutOfRangeError("; ".join(lost.describe() for lost in out_of_range))
    for lost in out_of_range:
        offset, count = lost.resume_offset(policy), lost.lost_records(policy)
        _log.error("%s Going on at %s, %d records are lost", lost.describe().partition(" Choose")[0], offset, count)
        RECORDS_LOST.labels(lost.position[0]).inc(count)
    return {lost.position: lost.resume_offset(policy) for lost in out_of_range}


class OffsetResetLog:
    """An event log that resets offsets that run out of range while it is read, by the policy.

    Retention may overtake a slow consumer. A log reports that by an error, or by returning nothing though it holds
    more: then its bounds are checked, twice, before the reset.
    """

    def __init__(self, event_log: EventLog, policy: OnLostOffsets) -> None:
        self._inner, self._policy = event_log, policy
        self._suspected: list[OutOfRangePosition] = []
        self._checked_at = time.monotonic()
        self._undelivered: list[OutOfRangePosition] = []  # resets that delivery has not passed yet

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def poll(
        self, max_records: int, timeout: float, partitions: Collection[Position] | None = None
    ) -> list[RecordBatch]:
        """Read the next records; see `EventLog.poll`.

        Raises
        ------
        OutOfRangeError
            They are gone, and the policy is to stop.
        """
        try:
            records = self._inner.poll(max_records, timeout, partitions)
        except OutOfRangeError:
            out_of_range = find_out_of_range(self._inner, self._inner.positions())
            if not out_of_range:
                raise
            self._reset(out_of_range)
            return []
        if not records and time.monotonic() - self._checked_at >= _CHECK_INTERVAL:
            self._check_bounds()
        return records

    def _check_bounds(self) -> None:
        """Compare the offsets with the log's bounds; reset those that are out of range for the second time."""
        self._checked_at = time.monotonic()
        out_of_range = find_out_of_range(self._inner, self._inner.positions())
        before = {(lost.position, lost.wanted) for lost in self._suspected}
        self._suspected = out_of_range
        certain = [lost for lost in out_of_range if (lost.position, lost.wanted) in before]
        if certain:
            self._reset(certain)

    def _reset(self, out_of_range: list[OutOfRangePosition]) -> None:
        self._inner.seek(self._inner.positions() | reset_offsets(out_of_range, self._policy))
        self._undelivered += out_of_range
        self._suspected = []

    def pop_delivered_resets(
        self, delivered: Mapping[Position, PartitionProgress], read: Mapping[Position, int]
    ) -> list[OutOfRangePosition]:
        """Return the resets that delivery has passed since the last call; thread-safe with a concurrent `poll`.

        Parameters
        ----------
        delivered
            Progress of delivery. A reset is counted with the state after it: a restart from before it counts it again.
        read
            Offsets of reading if everything that was read was delivered; else nothing.
        """
        passed = [
            lost
            for lost in list(self._undelivered)
            if lost.log_was_truncated
            or delivered[lost.position].offset > lost.wanted
            or read.get(lost.position, lost.wanted) != lost.wanted
        ]
        for lost in passed:
            self._undelivered.remove(lost)
        return passed


def with_offset_reset(event_log: EventLog, policy: OnLostOffsets) -> tuple[EventLog, OffsetResetLog]:
    """Wrap a log in an `OffsetResetLog`; return it twice, as a log to read and as what knows of the resets."""
    wrapped = OffsetResetLog(event_log, policy)
    return cast(EventLog, wrapped), wrapped
