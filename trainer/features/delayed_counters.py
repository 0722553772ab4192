"""Item states as they were when something was shown: what was counted since must not be seen when it is judged.

A judgement comes when its attribution window is over; by then the action that it is about has been counted. So a second
set of counters follows behind the first one, and is moved on to the earliest impression that is judged next.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from functools import partial

import numpy as np
from numpy.typing import NDArray

from hsnn.trainer.features.item_counters import ItemCounters
from hsnn.trainer.rowstore.arrays import Array

_Noted = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]

_LONGEST = 4096
"""Batches that wait at most; where impressions stay away, the oldest are counted anyway."""


class DelayedCounters:
    """Counters that are behind.

    Attributes
    ----------
    states : ItemCounters

    Examples
    --------
    >>> lagged, one = DelayedCounters(), np.ones(1, np.float32)
    >>> for ts in (10, 20):
    ...     lagged.enqueue(np.array([0]), np.array([ts]), one)
    >>> lagged.advance(20)
    >>> lagged.states.last[0].item()
    10
    """

    def __init__(self) -> None:
        self.states = ItemCounters()
        self._waiting: deque[_Noted] = deque()

    def mark_first_seen(self, row: int, ts: int) -> None:
        """Note that an item exists since `ts`."""
        self.states.reserve(row + 1)
        self.states.mark_first_seen([row], ts)

    def enqueue(self, rows: NDArray[np.int64], ts: NDArray[np.int64], weights: NDArray[np.float32]) -> None:
        """Note engagements (n,) to be counted later."""
        self.states.reserve(int(rows.max(initial=-1)) + 1)
        self._waiting.append((rows, ts, weights))
        if len(self._waiting) > _LONGEST:
            self.states.add_engagements(*self._waiting.popleft())

    def advance(self, before: int) -> None:
        """Count what was noted and happened before that time (epoch ms)."""
        for _ in range(len(self._waiting)):
            rows, ts, weights = self._waiting.popleft()
            due = ts < before
            if due.any():
                self.states.add_engagements(rows[due], ts[due], weights[due])
            if not due.all():
                self._waiting.append((rows[~due], ts[~due], weights[~due]))

    def remove_items(self, gone: NDArray[np.bool_]) -> None:
        """Forget items, by row, with what was noted of them."""
        self.states.clear(np.flatnonzero(gone[: len(self.states.last)]))
        for _ in range(len(self._waiting)):
            rows, ts, weights = self._waiting.popleft()
            kept = ~gone[rows]
            if kept.any():
                self._waiting.append((rows[kept], ts[kept], weights[kept]))

    def pending_arrays(self) -> Callable[[], dict[str, Array]]:
        """Note what waits now; the call of what is returned makes arrays of it, in any thread, at any time."""
        return partial(_as_arrays, tuple(self._waiting))

    def load_state_dict(self, arrays: Mapping[str, Array]) -> None:
        """Continue from what `waiting` made; `states` is a table of its own."""
        cuts = np.cumsum(arrays["sizes"])[:-1]
        parts = (np.split(arrays[name].copy(), cuts) for name in ("rows", "ts", "weights"))
        self._waiting = deque(zip(*parts, strict=True)) if len(arrays["sizes"]) else deque()


def _as_arrays(noted: Sequence[_Noted]) -> dict[str, Array]:
    empty = (np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0, np.float32))
    rows, ts, weights = (np.concatenate(parts) for parts in zip(empty, *noted, strict=True))
    sizes = np.array([len(part[0]) for part in noted], np.int64)
    return {"rows": rows, "ts": ts, "weights": weights, "sizes": sizes}
