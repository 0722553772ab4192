"""Delayed item counters: item states as of an impression, without the engagements counted since.

The label of an impression is known when its attribution window closes; by then the engagement it is about has been
counted, and would leak into the features. So a second set of counters lags behind the first one and is advanced to the
earliest impression of the next labelled batch.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from functools import partial

import numpy as np
from numpy.typing import NDArray

from hsnn.trainer.features.item_counters import ItemCounters
from hsnn.trainer.rowstore.arrays import Array

_Engagements = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]

_LONGEST = 4096
"""Most batches that are pending; without impressions nothing advances the counters, so the oldest are counted then."""


class DelayedCounters:
    """Item counters that lag behind the engagements they were given.

    Attributes
    ----------
    states : ItemCounters

    Examples
    --------
    >>> lagged, weight = DelayedCounters(), np.ones(1, np.float32)
    >>> for ts in (10, 20):
    ...     lagged.enqueue(np.array([0]), np.array([ts]), weight)
    >>> lagged.advance(20)
    >>> lagged.states.last[0].item()
    10
    """

    def __init__(self) -> None:
        self.states = ItemCounters()
        self._waiting: deque[_Engagements] = deque()

    def mark_first_seen(self, row: int, ts: int) -> None:
        """Record that an item exists since `ts` (epoch ms)."""
        self.states.reserve(row + 1)
        self.states.mark_first_seen([row], ts)

    def enqueue(self, rows: NDArray[np.int64], ts: NDArray[np.int64], weights: NDArray[np.float32]) -> None:
        """Queue engagements (n,) to be counted later."""
        self.states.reserve(int(rows.max(initial=-1)) + 1)
        self._waiting.append((rows, ts, weights))
        if len(self._waiting) > _LONGEST:
            self.states.add_engagements(*self._waiting.popleft())

    def advance(self, before: int) -> None:
        """Count the queued engagements that happened before that time (epoch ms)."""
        # One round through the queue: what is not due goes back to its end, so the order of batches is kept.
        for _ in range(len(self._waiting)):
            rows, ts, weights = self._waiting.popleft()
            due = ts < before
            if due.any():
                self.states.add_engagements(rows[due], ts[due], weights[due])
            if not due.all():
                self._waiting.append((rows[~due], ts[~due], weights[~due]))

    def remove_items(self, gone: NDArray[np.bool_]) -> None:
        """Reset the counters of items, by row, and discard their queued engagements."""
        self.states.clear(np.flatnonzero(gone[: len(self.states.last)]))
        for _ in range(len(self._waiting)):
            rows, ts, weights = self._waiting.popleft()
            kept = ~gone[rows]
            if kept.any():
                self._waiting.append((rows[kept], ts[kept], weights[kept]))

    def pending_arrays(self) -> Callable[[], dict[str, Array]]:
        """Capture the queue as it is now; calling the result, in any thread and at any time, makes arrays of it."""
        return partial(_as_arrays, tuple(self._waiting))

    def load_state_dict(self, arrays: Mapping[str, Array]) -> None:
        """Continue from the arrays that `pending_arrays` made; `states` is restored as a table."""
        cuts = np.cumsum(arrays["sizes"])[:-1]
        parts = (np.split(arrays[name].copy(), cuts) for name in ("rows", "ts", "weights"))
        self._waiting = deque(zip(*parts, strict=True)) if len(arrays["sizes"]) else deque()


def _as_arrays(batches: Sequence[_Engagements]) -> dict[str, Array]:
    empty = (np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0, np.float32))
    rows, ts, weights = (np.concatenate(parts) for parts in zip(empty, *batches, strict=True))
    sizes = np.array([len(part[0]) for part in batches], np.int64)
    return {"rows": rows, "ts": ts, "weights": weights, "sizes": sizes}
