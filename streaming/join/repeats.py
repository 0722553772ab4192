"""Repeats: interactions that say more of what their user's last interaction said."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hsnn.streaming.schema.batch import Engagements

_Last = tuple[str, str | None, int]


class RepeatDetector:
    """Knows the last interaction of every user for `window` ms of stream time, of at most `most` users.

    An interaction is a repeat if its user's last one was on the same item, and either names the same impression or lies
    within `window` ms of it.
    """

    def __init__(self, window: int, most: int) -> None:
        self._window, self._most = window, most
        self._last: dict[str, _Last] = {}  # least lately active user first

    def mark(self, events: Engagements, named: Sequence[str | None], watermark: int) -> NDArray[np.bool_]:
        """Say of n interactions in order which are repeats, then forget users who were idle for too long."""
        found = []
        last, window = self._last, self._window
        for user, item, name, ts in zip(events.user, events.item, named, events.ts.tolist(), strict=True):
            before = last.pop(user, None)
            found.append(
                before is not None
                and before[0] == item
                and (abs(ts - before[2]) <= window or (name is not None and before[1] == name))
            )
            last[user] = (item, name, ts)
        self._forget(watermark - window)
        return np.array(found, np.bool_)

    def capture_state(self) -> Callable[[], list[list[Any]]]:
        """Note what is known; called, it becomes plain values: users, items, names and times."""
        users, lasts = list(self._last), list(self._last.values())
        return lambda: [users, *([one[at] for one in lasts] for at in range(3))]

    def load_state_dict(self, state: Sequence[Sequence[Any]]) -> None:
        """Go on from what was `frozen`."""
        users, *lasts = state
        self._last = dict(zip(users, zip(*lasts, strict=True), strict=True))

    def _forget(self, before: int) -> None:
        gone: list[str] = []
        for user, (_, _, ts) in self._last.items():
            if ts >= before and len(self._last) - len(gone) <= self._most:
                break
            gone.append(user)
        for user in gone:
            del self._last[user]
