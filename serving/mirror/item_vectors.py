"""Vectors of all retrievable items at one time, for dot-product scores; shared by all requests of that time.

A state vector depends on the item and the time, not on the user. So one pass of the state tower over the retrievable
items serves every request until an event, a delta or a version changes the mirror, or a request is for another time.
"""

from __future__ import annotations

from copy import copy
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from hsnn.serving.mirror.index import MirroredIndex
from hsnn.trainer.features.item_counters import ItemCounters
from hsnn.trainer.retrieval.score_bounds import GroupedItems, ScoreBounds


class ItemVectors:
    """Vectors of the retrievable items of an index at time `now`, epoch ms.

    Attributes
    ----------
    now : int
    rows : (n,) int64
        Retrievable rows, grouped by node.
    vectors : Members
        Their vectors and biases, in the same order.
    """

    def __init__(self, index: MirroredIndex, states: ItemCounters, alive: NDArray[np.bool_], now: int) -> None:
        self.now, self._split = now, index.config.vector_width - 1
        rows = np.flatnonzero(alive)
        self.rows = rows[np.argsort(index.leaves.node_of[rows], kind="stable")]
        state = index.scorer.state_vectors(states.features(self.rows, now))  # (n, p+1)
        static = index.vectors[self.rows]  # (n, d+1)
        vectors = np.concatenate([static[:, :-1], state[:, :-1]], axis=1)  # (n, d+p)
        self.vectors = GroupedItems(vectors, static[:, -1] + state[:, -1], index.leaves.node_of[self.rows])

    def with_added(self, added: NDArray[np.float32]) -> ItemVectors:
        """Return the same items with `added` (n,) on their biases."""
        changed = copy(self)
        changed.__dict__.pop("bounds", None)
        changed.vectors = self.vectors._replace(bias=self.vectors.bias + added)
        return changed

    @cached_property
    def bounds(self) -> ScoreBounds:
        """Score bounds of the items, of which there must be at least one."""
        return ScoreBounds(self.vectors, self._split)
