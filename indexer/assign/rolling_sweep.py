"""The rolling sweep: between two versions, item after item is looked at again, and goes to a nearer node if it may.

What can be stale inside a version? Its model is not: vectors of a newer snapshot are never mixed into it, since readers
must not see the model of one and the index of another; they come with the next version. Features are not: a changed
item is placed anew at once. What is left is **where an item sits**: it went to the next-best node because its own was
full, and has room now; or whoever placed it followed other rules (an older leader, another margin).

So items that wait for a node with room come first. Then all others take turns: what was not looked at for long, and
what is popular, comes first. An item's turn nears with the time since it was looked at, the faster the more popular it
is, and never stands still; so popular items are looked at more often, and every item at some time.
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
_LEAST = 1e-9  # popularity by which turns go on where nothing is popular
_FIRST = 1e30  # beyond any turn


class RollingSweep:
    """Chooses whom to look at next, at a limited rate.

    Parameters
    ----------
    rate
        Items per second.
    every
        Seconds between two choices, about; what more than two of them did not use up is not saved for later.
    clock
        Seconds, for tests.
    """

    def __init__(self, rate: float, every: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate, self._most, self._clock = rate, max(2 * rate * every, 1.0), clock
        self._filled = clock() - every
        self._looked: Times = np.zeros(0)
        self._version = 0

    def select(self, catalogue: ItemCatalogue, live: LiveIndex) -> Rows:
        """Rows (n,) to look at now, first things first; they count as looked at."""
        now = self._clock()
        count = int(min(self._rate * (now - self._filled), self._most))
        if count == 0:
            return np.zeros(0, np.int64)
        self._filled = now
        rows = self._next(catalogue, live, now, count)
        self._looked[rows] = now
        return rows

    def _next(self, catalogue: ItemCatalogue, live: LiveIndex, now: float, count: int) -> Rows:
        nodes = live.nodes_of_rows(len(catalogue))
        if live.number != self._version:  # all were placed just now
            self._version, self._looked = live.number, np.full(len(nodes), now - 1.0)
        self._looked = grown(self._looked, len(nodes), now)
        indexed = np.flatnonzero((nodes >= 0) & catalogue.alive_mask())
        heat = catalogue.popularity(indexed)  # (n,)
        turn = (now - self._looked[indexed]) * (heat + max(float(heat.mean()), _LEAST) if len(heat) else heat)
        wanted = live.preferred[indexed]
        awaited = (wanted >= 0) & (live.capacity.sizes < live.capacity.cap)[wanted]
        turn = np.where(awaited, _FIRST * (1 + heat), turn)
        return indexed[_largest(turn, min(count, len(turn)))]


def _largest(turn: Times, count: int) -> NDArray[np.int64]:
    """Places (count,) of the largest turns (n,), largest first."""
    among = np.sort(np.argpartition(-turn, count - 1)[:count]) if count else np.zeros(0, np.int64)
    return among[np.argsort(-turn[among], kind="stable")]
