"""Seasonal references: what a signal was at the same hour of yesterday and of a week ago."""

from __future__ import annotations

from typing import Any

HOUR = 3_600_000
"""Milliseconds of an hour, the finest rhythm of users."""

BACK = (23, 24, 25, 167, 168, 169)
"""Hours back that are compared: a day and a week, with an hour on either side, since a rhythm is not exact."""


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
        self._hours: dict[int, list[float]] = {}  # hour -> sum, count

    def add(self, value: float, *, begin: int, ts: int) -> None:
        """Add a value of the window from `begin` to `ts`, epoch ms."""
        for hour in covered_hours(begin, ts, at_most=max(BACK) + 2):
            entry = self._hours.setdefault(hour, [0.0, 0.0])
            entry[0] += value
            entry[1] += 1
        oldest = ts // HOUR - max(BACK) - 1
        while (first := next(iter(self._hours))) < oldest:  # in the order of time, as windows are
            del self._hours[first]

    def expected(self, ts: int, *, before: int | None = None) -> list[float]:
        """Return the means of the hours that `ts` is compared with; none where the stream is too young.

        Hours from that of `before` on are left out: what has changed since is no rhythm.
        """
        hour, end = ts // HOUR, (ts if before is None else before) // HOUR
        hours = [hour - back for back in BACK if hour - back < end and hour - back in self._hours]
        return [self._hours[each][0] / self._hours[each][1] for each in hours]

    def state_dict(self) -> dict[str, Any]:
        """Return the hours as a list, oldest first."""
        return {"hours": [[hour, *sums] for hour, sums in sorted(self._hours.items())]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore `state_dict`."""
        self._hours = {int(hour): [float(total), float(count)] for hour, total, count in state["hours"]}


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
