"""Seasonal references: what a signal was at the same hour of yesterday and of a week ago."""

from __future__ import annotations

from typing import Any

import numpy as np

HOUR = 3_600_000
"""Milliseconds of an hour, the finest rhythm of users."""

BACK = (23, 24, 25, 167, 168, 169)
"""Hours back that are compared: a day and a week, with an hour on either side, since a rhythm is not exact."""

# Hours kept: those compared, and what a window that ends later may reach back to.
_KEPT = max(BACK) + 2


class SeasonalReference:
    """Means of a signal per hour of stream time, for the last week.

    Examples
    --------
    >>> season = SeasonalReference()
    >>> season.add(5.0, begin=0, ts=0), season.add(7.0, begin=0, ts=1000)
    (None, None)
    >>> season.expected(ts=24 * 3_600_000), season.expected(ts=12 * 3_600_000)
    ([6.0], [])
    >>> season.expected(ts=24 * 3_600_000, before=1000)
    []
    """

    def __init__(self) -> None:
        # A ring: the place of an hour is its remainder, and is another one's where `_hours` names another.
        self._hours = np.full(_KEPT, -1, np.int64)
        self._sums, self._counts = np.zeros(_KEPT), np.zeros(_KEPT)

    def add(self, value: float, *, begin: int, ts: int) -> None:
        """Add a value of the window from `begin` to `ts`, epoch ms."""
        covered = covered_hours(begin, ts, at_most=_KEPT)
        hours = np.arange(covered.start, covered.stop)
        places = hours % _KEPT
        known = self._hours[places] == hours
        self._hours[places] = hours
        self._sums[places] = np.where(known, self._sums[places], 0.0) + value
        self._counts[places] = np.where(known, self._counts[places], 0.0) + 1

    def expected(self, ts: int, *, before: int | None = None) -> list[float]:
        """Return the means of the hours that `ts` is compared with; none where the stream is too young.

        Hours from that of `before` on are left out: what has changed since is no rhythm.
        """
        hour, end = ts // HOUR, (ts if before is None else before) // HOUR
        hours = [hour - back for back in BACK if hour - back < end]
        places = [each % _KEPT for each in hours if each >= 0 and self._hours[each % _KEPT] == each]
        return [float(self._sums[place] / self._counts[place]) for place in places]

    def state_dict(self) -> dict[str, Any]:
        """Return the hours as a list, oldest first."""
        kept = np.flatnonzero(self._hours > self._hours.max() - _KEPT)
        order = [place for place in kept[np.argsort(self._hours[kept])].tolist() if self._hours[place] >= 0]
        return {"hours": [[int(self._hours[at]), float(self._sums[at]), float(self._counts[at])] for at in order]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore `state_dict`."""
        self._hours[:] = -1
        for hour, total, count in state["hours"]:
            place = int(hour) % _KEPT
            self._hours[place], self._sums[place], self._counts[place] = int(hour), float(total), float(count)


def covered_hours(begin: int, ts: int, *, at_most: int) -> range:
    """Return the hours that began within a window from `begin` to `ts`, epoch ms; at least the one that it ends in.

    At night a window may last for hours: it tells what is usual in each of them.

    Examples
    --------
    >>> covered_hours(5 * HOUR + 1, 7 * HOUR + 1, at_most=24), covered_hours(5 * HOUR + 1, 5 * HOUR + 2, at_most=24)
    (range(6, 8), range(5, 6))
    """
    last = ts // HOUR
    return range(max(min(begin // HOUR + 1, last), last + 1 - at_most), last + 1)
