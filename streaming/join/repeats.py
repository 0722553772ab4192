"""Detect repeats: interactions that add to what their user's previous interaction said."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hsnn.streaming.schema.batch import Engagements

# Item, impression id and event time of a user's last interaction. A plain tuple: one is made per interaction.
_Last = tuple[str, str | None, int]


class RepeatDetector:
    """Marks interactions that repeat their user's previous one.

    An interaction is a repeat if its user's previous one was on the same item, and either both name the same impression
    or they are at most `window` ms apart.

    Parameters
    ----------
    window
        Milliseconds of stream time; users who were idle for longer are forgotten.
    max_users
        Users that are remembered; beyond it the least lately active are forgotten.
    """

    def __init__(self, window: int, max_users: int) -> None:
        self._window, self._max_users = window, max_users
        self._last: dict[str, _Last] = {}  # per user, least lately active first

    def mark(self, events: Engagements, impression_ids: Sequence[str | None], watermark: int) -> NDArray[np.bool_]:
        """Say which of n interactions, in order, are repeats, (n,); then forget idle users."""
        repeats = []
        last, window = self._last, self._window
        for user, item, name, ts in zip(events.user, events.item, impression_ids, events.ts.tolist(), strict=True):
            previous = last.pop(user, None)
            repeats.append(
                previous is not None
                and previous[0] == item
                and (abs(ts - previous[2]) <= window or (name is not None and previous[1] == name))
            )
            last[user] = (item, name, ts)  # inserted last: now the most lately active
        self._forget_idle(watermark - window)
        return np.array(repeats, np.bool_)

    def deferred_state(self) -> Callable[[], list[list[Any]]]:
        """Copy the state; the returned function makes lists of it: users, items, impression ids and times."""
        users, last = list(self._last), list(self._last.values())
        return lambda: [users, *([values[field] for values in last] for field in range(3))]

    def load_state(self, state: Sequence[Sequence[Any]]) -> None:
        """Restore what the function returned by `deferred_state` gave."""
        users, *last = state
        self._last = dict(zip(users, zip(*last, strict=True), strict=True))

    def _forget_idle(self, before: int) -> None:
        idle: list[str] = []
        for user, (_, _, ts) in self._last.items():
            if ts >= before and len(self._last) - len(idle) <= self._max_users:
                break
            idle.append(user)
        for user in idle:
            del self._last[user]
