"""Seasonal references: what a signal was at the same hour of yesterday and of a week ago."""

from __future__ import annotations

from typing import Any

# Milliseconds of an hour, the finest rhythm of users.
_HOUR = 3_600_000

# Hours back that are compared: a day and a week, with an hour on either side, since a rhythm is not exact.
_BACK = (23, 24, 25, 167, 168, 169)


class SeasonalReference:
    """Means of a signal per hour of stream time, for the last week.

    Examples
    --------
    >>> season = SeasonalReference()
    >>> season.add(5.0, ts=0), season.add(7.0, ts=1000)
    (None, None)
    >>> season.expected(ts=24 * 3_600_000), season.expected(ts=12 * 3_600_000)
    ([6.0], [])
    """

    def __init__(self) -> None:
        self._hours: dict[int, list[float]] = {}  # hour -> sum, count

    def add(self, value: float, ts: int) -> None:
        """Add a value of the time `ts`, epoch ms."""
        hour = ts // _HOUR
        entry = self._hours.setdefault(hour, [0.0, 0.0])
        entry[0] += value
        entry[1] += 1
        if len(self._hours) > max(_BACK) + 2:
            oldest = hour - max(_BACK) - 1
            self._hours = {each: sums for each, sums in self._hours.items() if each >= oldest}

    def expected(self, ts: int) -> list[float]:
        """Return the means of the hours that `ts` is compared with; none where the stream is too young."""
        hour = ts // _HOUR
        return [
            self._hours[hour - back][0] / self._hours[hour - back][1] for back in _BACK if hour - back in self._hours
        ]

    def state_dict(self) -> dict[str, Any]:
        """Return the hours as a list, oldest first."""
        return {"hours": [[hour, *sums] for hour, sums in sorted(self._hours.items())]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore `state_dict`."""
        self._hours = {int(hour): [float(total), float(count)] for hour, total, count in state["hours"]}
