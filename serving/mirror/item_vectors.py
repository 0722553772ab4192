"""All living items as dot-product scores see them at one moment: made once, shared by the requests of that moment.

A state vector depends on the item and the time, not on the user. So one pass of the state tower over the living items
serves every request until an event, a delta or a version changes the mirror, or somebody asks for another time.
"""

from __future__ import annotations

from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from hsnn.serving.mirror.index import MirroredIndex
from hsnn.trainer.features.item_counters import ItemStates
from hsnn.trainer.retrieval.score_bounds import Bounds, Members


class ItemVectors:
    """The living items of an index at time `now` (epoch ms).

    Attributes
    ----------
    now : int
    rows : (n,) int64
        Living rows, grouped by node.
    members : the same items as vectors
    """

    def __init__(self, index: MirroredIndex, states: ItemStates, alive: NDArray[np.bool_], now: int) -> None:
        self.now, self._split = now, index.config.vector_width - 1
        living = np.flatnonzero(alive)
        self.rows = living[np.argsort(index.leaves.node_of[living], kind="stable")]
        state = index.scorer.states(states.features(self.rows, now))  # (n, p+1)
        static = index.vectors[self.rows]  # (n, d+1)
        vectors = np.concatenate([static[:, :-1], state[:, :-1]], axis=1)  # (n, d+p)
        self.vectors = Members(vectors, static[:, -1] + state[:, -1], index.leaves.node_of[self.rows])

    @cached_property
    def bounds(self) -> Bounds:
        """Bounds of the items; there must be some."""
        return Bounds(self.vectors, self._split)
