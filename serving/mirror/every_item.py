"""What the engine reads for the exhaustive top k: the states of all items at one time, shared by requests of that time.

A state vector depends on the item and the time, not on the user. The plain counterpart is
`hsnn.serving.mirror.item_vectors`.
"""

from __future__ import annotations

from functools import cached_property

import numpy as np

from hsnn.serving.mirror.index import MirroredIndex
from hsnn.trainer.features.item_counters import ItemCounters
from hsnn.trainer.retrieval.leaf_search import LeafBounds, StatesByPlace

# Items whose states are encoded at once: what is computed for them then stays in the cache of a core.
_CHUNK = 2048


class EveryItem:
    """States of all items of an index at time `now`, epoch ms.

    Attributes
    ----------
    now : int
    arrays : LeafArrays
    states : StatesByPlace
    """

    def __init__(self, index: MirroredIndex, states: ItemCounters, now: int) -> None:
        assert index.engine is not None
        self.now, self.arrays = now, index.engine.records.arrays
        places = np.flatnonzero(self.arrays.row >= 0)
        self.states = StatesByPlace(
            np.zeros((len(self.arrays.row), index.config.state_dim), np.float32),
            np.zeros(len(self.arrays.row), np.float32),
        )
        for start in range(0, len(places), _CHUNK):
            part = places[start : start + _CHUNK]
            rows = self.arrays.row[part]
            encoded = index.scorer.model.state_tower(states.features(rows, now))  # (n, p + 1)
            self.states.vectors[part] = encoded[:, :-1]
            self.states.bias[part] = index.vectors[rows, -1] + encoded[:, -1]

    @cached_property
    def bounds(self) -> LeafBounds:
        """Bounds of all leaves, for exact search."""
        return LeafBounds.of_items(self.arrays, self.states)
