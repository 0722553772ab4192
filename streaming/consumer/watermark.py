"""Which event times are believed: stream time is the log's own, and one bad stamp must not move it.

Three questions, all answered from the log alone, so that every run over the same records answers alike:

* where does stream time *start* (`start_time`): at the median of the first events, never at a single one;
* in which *order* is a partition merged with the others (`order_keys`): by its running maximum, except that a leap
  ahead which the partition's next events do not follow is passed over at once;
* is an event *believed* when its turn comes (`Watermark.check`): within `max_future` of the largest believed time, or
  part of a leap that at least `QUORUM` events agree on (a stream that was paused for long goes on).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

EARLIEST = 631_152_000_000
"""1990-01-01, epoch ms: engagements from before are mistakes (seconds for milliseconds, an unset clock)."""

WINDOW = 64
"""How many following events of a partition say whether a leap is real, and how many first events give the start."""

QUORUM = 32
"""How many events must agree on a leap before stream time follows it."""

NO_TIME = -1
"""No time yet."""


def start_time(ts: NDArray[np.int64]) -> int:
    """Where stream time starts: the lower median of the plausible ones of the first event times; `NO_TIME` without any.

    Examples
    --------
    >>> start_time(np.array([4_000_000_000_000, 894_000_000_000, 893_000_000_000]))
    894000000000
    """
    plausible = np.sort(ts[ts >= EARLIEST])
    return int(plausible[(len(plausible) - 1) // 2]) if len(plausible) else NO_TIME


class EventTimeLimits(NamedTuple):
    """How far from the watermark an event may be, ms."""

    max_future: int
    max_past: int


class EventTimeCheck(NamedTuple):
    """What `Watermark.check` found.

    Attributes
    ----------
    stop
        Rows before this one are not too far ahead; n if none is.
    too_old : (n,) bool
    after : (n,) int64
        The watermark after each row.
    """

    stop: int
    too_old: NDArray[np.bool_]
    after: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class OrderKeys:
    """Place of a partition's rows in the merge.

    Attributes
    ----------
    keys : (m,) int64
        Never falling; m <= n: the rows after a leap ahead must wait for more of the partition.
    stray : (m,) bool
        Leaps ahead that the partition does not follow.
    proven : (m,) bool
        Leaps ahead that at least `QUORUM` of the next `WINDOW` events follow.
    """

    keys: NDArray[np.int64]
    outlier: NDArray[np.bool_]
    confirmed: NDArray[np.bool_]


def order_keys(ts: NDArray[np.int64], key: int, start: int, max_future: int, complete: bool) -> OrderKeys:
    """Order keys of the next rows of one partition.

    Parameters
    ----------
    ts : (n,) int64
        Event times, `NO_TIME` for rows without one; those lie right after the row before them.
    key
        Key of the partition's last row before these; `NO_TIME` at its beginning.
    start
        Start of stream time; the first row is no leap if it is within reach of it.
    max_future : ms
    complete
        Whether the partition has no more rows than these for now.

    Examples
    --------
    >>> order_keys(np.array([5, 900, 6]), NONE, 5, 100, complete=True).keys.tolist()
    [5, 5, 6]
    """
    n = len(ts)
    keys, stray, proven = np.empty(n, np.int64), np.zeros(n, np.bool_), np.zeros(n, np.bool_)
    at = 0
    while at < n:
        before = np.maximum.accumulate(np.concatenate(([key], ts[at:])))
        keys[at:] = before[1:]
        reach = np.maximum(before[:-1], start) + max_future
        leaps = np.flatnonzero((ts[at:] > reach) & ((before[:-1] != NO_TIME) | (start != NO_TIME)))
        if not len(leaps):
            return OrderKeys(keys, stray, proven)
        leap = at + int(leaps[0])
        key = int(before[leaps[0]])
        window = ts[leap + 1 :]
        window = window[window != NO_TIME][:WINDOW]
        if len(window) < WINDOW and not complete:
            return OrderKeys(keys[:leap], stray[:leap], proven[:leap])
        agreeing = int(np.count_nonzero(window > reach[leaps[0]]))
        stray[leap] = len(window) > 0 and agreeing * 2 <= len(window)
        proven[leap] = agreeing >= QUORUM
        keys[leap] = key = key if stray[leap] else int(ts[leap])
        at = leap + 1
    return OrderKeys(keys, stray, proven)


@dataclass(frozen=True, slots=True)
class Rejections:
    """Refused events of one partition, in a row, that agree with each other about a time far ahead."""

    count: int = 0
    low: int = 0
    high: int = 0

    def add(self, ts: int, max_future: int) -> Rejections:
        """Count one more, or begin anew if it disagrees."""
        low, high = min(self.low, ts), max(self.high, ts)
        return (
            Rejections(self.count + 1, low, high) if self.count and high - low <= max_future else Rejections(1, ts, ts)
        )


@dataclass(slots=True)
class Watermark:
    """Largest believed event time.

    Attributes
    ----------
    value : epoch ms
        `NO_TIME` until an event was believed.
    start : epoch ms
        What the first events are compared with; `NO_TIME` until it is known.
    """

    value: int = NO_TIME
    start: int = NO_TIME

    @property
    def reference(self) -> int:
        """What event times are compared with."""
        return max(self.value, self.start)

    def check(
        self,
        engagements: NDArray[np.int64],
        judged: NDArray[np.int64],
        latest: NDArray[np.int64],
        limits: EventTimeLimits,
    ) -> EventTimeCheck:
        """Look at rows in merge order, up to the first one that is too far ahead.

        Parameters
        ----------
        engagements : (n,) int64
            Event times of engagements, which move the watermark; `NO_TIME` for other rows.
        judged : (n,) int64
            Event times of engagements and of others that may be too far ahead; `NO_TIME` for the rest.
        latest : (n,) int64
            Latest believable time of each row while there is no watermark to compare with.
        limits
        """
        reach = np.maximum.accumulate(np.concatenate(([self.reference], engagements)))[:-1]
        ahead = np.flatnonzero(judged > np.where(reach == NO_TIME, latest, reach + limits.max_future))
        oldest = np.where(reach == NO_TIME, EARLIEST, np.maximum(EARLIEST, reach - limits.max_past))
        too_old = (engagements != NO_TIME) & (engagements < oldest)
        believed = np.where(too_old, NO_TIME, engagements)
        after = np.maximum.accumulate(np.concatenate(([self.value], believed)))[1:]
        return EventTimeCheck(int(ahead[0]) if len(ahead) else len(judged), too_old, after)
