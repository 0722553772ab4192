"""RollingSweep: between two versions, check item after item and move it to a nearer node if it may.

What can be stale inside a version? Not its model: vectors of a newer snapshot are never mixed into it, since readers
must not see the model of one and the index of another; they come with the next version. Not features: a changed item is
placed again at once. What is left is **the node of an item**: it went to the next-best node because its own was full,
which has room now, or it was placed under other rules (by an older leader, with another margin).

So items whose preferred node has room come first. The others follow by priority, the time since an item was checked
multiplied by its popularity. Popularity is never zero, so popular items are checked more often and every item at some
time. A token bucket limits the rate.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from hsnn.indexer.assign.catalogue import ItemCatalogue, Rows
from hsnn.indexer.assign.live_index import LiveIndex
from hsnn.trainer.rowstore.arrays import grown

Times = NDArray[np.float64]

# Least mean popularity, in engagements: where nothing is popular, priority still grows with time.
_LEAST_POPULARITY = 1e-9

# Priority of an item whose preferred node has room: larger than any seconds times engagements.
_PREFERRED_PRIORITY = 1e30

# Tokens that the bucket holds, in intervals: a late call catches up with one that was missed, not with more.
_BURST_INTERVALS = 2


class RollingSweep:
    """Selects the items to check next, at a limited rate.

    Parameters
    ----------
    rate
        Items per second.
    every
        Seconds between two calls of `select`, about.
    clock
        Seconds, for tests.
    """

    def __init__(self, rate: float, every: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate, self._burst, self._clock = rate, max(_BURST_INTERVALS * rate * every, 1.0), clock
        self._refilled_at = clock() - every
        self._checked_at: Times = np.zeros(0)
        self._version = 0

    def select(self, catalogue: ItemCatalogue, live: LiveIndex) -> Rows:
        """Select the rows (n,) to check now, by descending priority; they count as checked."""
        now = self._clock()
        count = int(min(self._rate * (now - self._refilled_at), self._burst))
        if count == 0:
            return np.zeros(0, np.int64)
        self._refilled_at = now
        rows = self._by_priority(catalogue, live, now, count)
        self._checked_at[rows] = now
        return rows

    def _by_priority(self, catalogue: ItemCatalogue, live: LiveIndex, now: float, count: int) -> Rows:
        nodes = live.nodes_of_rows(len(catalogue))
        if live.number != self._version:  # all items of a new version were placed just now
            self._version, self._checked_at = live.number, np.full(len(nodes), now - 1.0)
        self._checked_at = grown(self._checked_at, len(nodes), now)
        indexed = np.flatnonzero((nodes >= 0) & catalogue.alive_mask())
        popularity = catalogue.popularity(indexed)  # (n,)
        least = max(float(popularity.mean()), _LEAST_POPULARITY) if len(popularity) else 0.0
        priority = (now - self._checked_at[indexed]) * (popularity + least)
        preferred = live.preferred[indexed]
        # Indexing with -1 reads the last node; the first condition masks that out.
        has_room = (preferred >= 0) & (live.capacity.sizes < live.capacity.cap)[preferred]
        priority = np.where(has_room, _PREFERRED_PRIORITY * (1 + popularity), priority)
        return indexed[_largest(priority, min(count, len(priority)))]


def _largest(values: Times, count: int) -> NDArray[np.int64]:
    """Return the indices (count,) of the largest values (n,), largest first."""
    # Sorting the candidates by index first makes ties come in index order, as argpartition alone would not.
    candidates = np.sort(np.argpartition(-values, count - 1)[:count]) if count else np.zeros(0, np.int64)
    return candidates[np.argsort(-values[candidates], kind="stable")]
