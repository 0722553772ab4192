"""Positions that the log no longer holds, or does not hold yet: stop in words, or go on as decided, and count."""

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
from hsnn.streaming.log.records import Position, Records

_log = logging.getLogger(__name__)
_LOOK_EVERY = 1.0

RECORDS_LOST = Counter(
    "hsnn_records_lost_total", "Records that were left out because the log no longer held them.", ["topic"]
)


class OutOfRangePosition(NamedTuple):
    """A partition whose next record is not there.

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

    def resume_offset(self, policy: OnLostOffsets) -> int:
        """Offset to go on from."""
        return self.begin if policy == "earliest" else self.end

    def lost_records(self, policy: OnLostOffsets) -> int:
        """How many records are left out; none where the log was replaced by a shorter one."""
        return max(0, self.resume_offset(policy) - self.wanted)

    def describe(self) -> str:
        """Say what is wrong, and the choices.

        Examples
        --------
        >>> print(Loss(("engagements", 1), 5, 1000, 3000).sentence()[:102])
        engagements/1: the next record to learn is 5, the log holds 1,000 to 2,999: 995 records were removed b
        """
        topic, partition = self.position
        held = (
            f"{self.begin:,} to {self.end - 1:,}" if self.end > self.begin else f"none, the next will be {self.end:,}"
        )
        if self.wanted < self.begin:
            what = f"{self.begin - self.wanted:,} records were removed before they were learned"
            mend = "raise the log's retention; start from a newer checkpoint, or from none"
        else:
            what = "the log was replaced, or lost its end"
            mend = "point `streaming.log` at the right one, or start without a checkpoint"
        return (
            f"{topic}/{partition}: the next record to learn is {self.wanted:,}, the log holds {held}: {what}. Choose: "
            f"{mend}; or `hsnn train --on-lost-offsets earliest` goes on at {self.begin:,} and counts "
            f"{self.lost_records('earliest'):,} as lost, `latest` at {self.end:,} and {self.lost_records('latest'):,}"
        )


def find_out_of_range(event_log: EventLog, positions: Mapping[Position, int]) -> list[OutOfRangePosition]:
    """Find those positions that lie outside of what the log holds."""
    begin, end = event_log.begin_positions(positions), event_log.end_positions(positions)
    found = [
        OutOfRangePosition(position, wanted, begin[position], end[position]) for position, wanted in positions.items()
    ]
    return [loss for loss in found if not loss.begin <= loss.wanted <= loss.end]


def reset_offsets(found: list[OutOfRangePosition], policy: OnLostOffsets) -> dict[Position, int]:
    """Where to go on instead, as it was decided.

    Raises
    ------
    OutOfRangeError
        It was decided to stop.
    """
    if found and policy == "fail":
        raise OutOfRangeError("; ".join(loss.describe() for loss in found))
    for loss in found:
        start, count = loss.resume_offset(policy), loss.lost_records(policy)
        _log.error("%s Going on at %s, %d records are lost", loss.describe().partition(" Choose")[0], start, count)
        RECORDS_LOST.labels(loss.position[0]).inc(count)
    return {loss.position: loss.resume_offset(policy) for loss in found}


class OffsetResetLog:
    """An event log that a consumer reads from; it meets lost positions in mid-run as the policy says.

    Retention may overtake a slow consumer. A log says so by an error, or by giving nothing though it holds more: then
    its bounds are looked at, twice, before that is believed.
    """

    def __init__(self, event_log: EventLog, policy: OnLostOffsets) -> None:
        self._inner, self._policy = event_log, policy
        self._suspected: list[OutOfRangePosition] = []
        self._looked_at = time.monotonic()
        self._passing: list[OutOfRangePosition] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def poll(self, max_records: int, timeout: float, partitions: Collection[Position] | None = None) -> list[Records]:
        """Read the next records; see `EventLog.poll`.

        Raises
        ------
        OutOfRangeError
            They are gone, and the policy is to stop.
        """
        try:
            records = self._inner.poll(max_records, timeout, partitions)
        except OutOfRangeError:
            found = find_out_of_range(self._inner, self._inner.positions())
            if not found:
                raise
            self._jump(found)
            return []
        if not records and time.monotonic() - self._looked_at >= _LOOK_EVERY:
            self._look()
        return records

    def _look(self) -> None:
        """Ask for the bounds; what is out of them twice in a row, at the same place, is."""
        self._looked_at = time.monotonic()
        found = find_out_of_range(self._inner, self._inner.positions())
        before = {(loss.position, loss.wanted) for loss in self._suspected}
        self._suspected = found
        sure = [loss for loss in found if (loss.position, loss.wanted) in before]
        if sure:
            self._jump(sure)

    def _jump(self, found: list[OutOfRangePosition]) -> None:
        self._inner.seek(self._inner.positions() | reset_offsets(found, self._policy))
        self._passing += found
        self._suspected = []

    def pop_delivered_resets(
        self, places: Mapping[Position, PartitionProgress], read: Mapping[Position, int]
    ) -> list[OutOfRangePosition]:
        """Jumps that delivery has passed since the last call; may be called while another thread polls.

        Parameters
        ----------
        places
            Where delivery stands. A jump is counted with the state that lies behind it: a restart from before it meets
            it again.
        read
            Where reading stands, if everything that was read was delivered; else nothing.
        """
        done = [
            loss
            for loss in list(self._passing)
            if loss.wanted > loss.end
            or places[loss.position].offset > loss.wanted
            or read.get(loss.position, loss.wanted) != loss.wanted
        ]
        for loss in done:
            self._passing.remove(loss)
        return done


def reading(event_log: EventLog, policy: OnLostOffsets) -> tuple[EventLog, OffsetResetLog]:
    """Return the log to read from, and the same as what knows of losses."""
    lost = OffsetResetLog(event_log, policy)
    return cast(EventLog, lost), lost
