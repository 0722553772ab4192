"""Which event times are accepted: stream time comes from the log alone, and one wrong timestamp must not move it.

Three questions, all answered from the log, so that every run over the same records gives the same answers:

* where does stream time *start* (`start_time`): at the median of the first events, never at a single one;
* in which *order* is a partition merged with the others (`order_keys`): by its running maximum, except that a jump
  ahead that the partition's next events do not follow is an outlier and ignored at once;
* is an event *accepted* when it is merged (`Watermark.check`): within `max_future` of the largest accepted time, or
  part of a jump that at least `QUORUM` events agree on (a stream that was paused for long goes on).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hsnn.streaming.decode.event_table import NO_TIME

EARLIEST = 631_152_000_000
"""1990-01-01, epoch ms: engagements from before are mistakes (seconds for milliseconds, an unset clock)."""

WINDOW = 64
"""How many following events of a partition say whether a jump is real, and how many first events give the start."""

QUORUM = 32
"""How many events must agree on a jump before stream time follows it: half of `WINDOW`."""


def start_time(ts: NDArray[np.int64]) -> int:
    """Return the lower median of the plausible ones among the first event times; `NO_TIME` if there is none.

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
    """Result of `Watermark.check`.

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
    """Keys by which the rows of a partition are merged with those of others.

    Attributes
    ----------
    keys : (m,) int64
        Ascending; m <= n: the rows after a jump ahead must wait for more of the partition.
    outlier : (m,) bool
        Jumps ahead that the partition does not follow.
    confirmed : (m,) bool
        Jumps ahead that at least `QUORUM` of the next `WINDOW` events follow.
    """

    keys: NDArray[np.int64]
    outlier: NDArray[np.bool_]
    confirmed: NDArray[np.bool_]


def order_keys(ts: NDArray[np.int64], key: int, start: int, max_future: int, complete: bool) -> OrderKeys:
    """Compute the order keys of the next rows of one partition.

    Parameters
    ----------
    ts : (n,) int64
        Event times, `NO_TIME` for rows without one; those stay right after the row before them.
    key
        Key of the partition's last row before these; `NO_TIME` at its beginning.
    start
        Start of stream time; the first row is no jump if it is within `max_future` of it.
    max_future : ms
    complete
        Whether the partition has no more rows than these for now.

    Examples
    --------
    >>> order_keys(np.array([5, 900, 6]), NO_TIME, 5, 100, complete=True).keys.tolist()
    [5, 5, 6]
    """
    n = len(ts)
    keys, outlier, confirmed = np.empty(n, np.int64), np.zeros(n, np.bool_), np.zeros(n, np.bool_)
    done = 0
    while done < n:
        # running[i] is the key before row done + i, running[i + 1] the key after it, if nothing jumps.
        running = np.maximum.accumulate(np.concatenate(([key], ts[done:])))
        keys[done:] = running[1:]
        latest = np.maximum(running[:-1], start) + max_future
        # The first row of all is compared only if the start of stream time is known.
        jumps = np.flatnonzero((ts[done:] > latest) & ((running[:-1] != NO_TIME) | (start != NO_TIME)))
        if not len(jumps):
            return OrderKeys(keys, outlier, confirmed)
        first = int(jumps[0])
        jump = done + first
        key = int(running[first])
        following = ts[jump + 1 :]
        following = following[following != NO_TIME][:WINDOW]
        if len(following) < WINDOW and not complete:
            return OrderKeys(keys[:jump], outlier[:jump], confirmed[:jump])
        agreeing = int(np.count_nonzero(following > latest[first]))
        # At the end of a partition nobody contradicts the jump: it keeps its place, and `Watermark.check` decides.
        outlier[jump] = len(following) > 0 and agreeing * 2 <= len(following)
        confirmed[jump] = agreeing >= QUORUM
        keys[jump] = key = key if outlier[jump] else int(ts[jump])
        done = jump + 1
    return OrderKeys(keys, outlier, confirmed)


@dataclass(frozen=True, slots=True)
class Rejections:
    """Consecutive rejected events of one partition that agree with each other about a time far ahead.

    Attributes
    ----------
    count
    low, high
        Smallest and largest of their event times, epoch ms.
    """

    count: int = 0
    low: int = 0
    high: int = 0

    def add(self, ts: int, max_future: int) -> Rejections:
        """Count one more event, or start again with it if it disagrees with those before."""
        low, high = min(self.low, ts), max(self.high, ts)
        agrees = self.count and high - low <= max_future
        return Rejections(self.count + 1, low, high) if agrees else Rejections(1, ts, ts)


@dataclass(slots=True)
class Watermark:
    """Largest accepted event time.

    Attributes
    ----------
    value : epoch ms
        `NO_TIME` until an event was accepted.
    start : epoch ms
        What the first events are compared with; `NO_TIME` until it is known.
    """

    value: int = NO_TIME
    start: int = NO_TIME

    @property
    def reference(self) -> int:
        """The time that event times are compared with."""
        return max(self.value, self.start)

    def check(
        self,
        engagements: NDArray[np.int64],
        timed: NDArray[np.int64],
        latest: NDArray[np.int64],
        limits: EventTimeLimits,
    ) -> EventTimeCheck:
        """Check rows in merge order, up to the first one that is too far ahead.

        Parameters
        ----------
        engagements : (n,) int64
            Event times of engagements, which move the watermark; `NO_TIME` for other rows.
        timed : (n,) int64
            Event times of engagements and of others that may be too far ahead; `NO_TIME` for the rest.
        latest : (n,) int64
            Latest plausible time of each row while there is no watermark to compare with.
        limits
        """
        # The watermark before each row, if all engagements before it are accepted.
        before = np.maximum.accumulate(np.concatenate(([self.reference], engagements)))[:-1]
        ahead = np.flatnonzero(timed > np.where(before == NO_TIME, latest, before + limits.max_future))
        oldest = np.where(before == NO_TIME, EARLIEST, np.maximum(EARLIEST, before - limits.max_past))
        too_old = (engagements != NO_TIME) & (engagements < oldest)
        accepted = np.where(too_old, NO_TIME, engagements)
        after = np.maximum.accumulate(np.concatenate(([self.value], accepted)))[1:]
        return EventTimeCheck(int(ahead[0]) if len(ahead) else len(timed), too_old, after)
