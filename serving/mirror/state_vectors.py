"""State vectors of all items as of their last sign of life: what orders candidates before the best of them are scored.

A score takes an item's state at the time of the request. To choose what is scored, its state vector as of its last
engagement does as well, with popularity decayed since then. It changes with the item's own state and the half-life of
popularity only, so a mirror that was updated holds the same bits as one that was loaded.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hsnn.trainer.features.item_counters import ItemCounters
from hsnn.trainer.model.scorer import Scorer
from hsnn.trainer.rowstore.arrays import gather_rows, grown

# Items whose vectors are computed at once: bounds the memory that their features take.
_CHUNK = 65_536


class StateVectors:
    """State vectors by row.

    Attributes
    ----------
    values : (rows, p + 1) float32
        The last column is a bias.
    """

    def __init__(self, scorer: Scorer, states: ItemCounters) -> None:
        self._scorer = scorer
        self.values: NDArray[np.float32] = np.zeros((0, scorer.config.state_dim + 1), np.float32)
        self.rebuild(states)

    def rebuild(self, states: ItemCounters) -> None:
        """Compute the vectors of all items: a new half-life of popularity changes every one."""
        rows = np.arange(len(states.last))
        for start in range(0, len(rows), _CHUNK):
            self.update(rows[start : start + _CHUNK], states)

    def update(self, rows: NDArray[np.integer], states: ItemCounters) -> None:
        """Compute the vectors of `rows` (n,), whose states changed."""
        if len(rows):
            self.values = grown(self.values, len(states.last))
            self.values[rows] = self._scorer.state_vectors(states.features(rows, states.last[rows]))

    def scores(
        self, rows: NDArray[np.int64], user: NDArray[np.float32], states: ItemCounters, now: int
    ) -> NDArray[np.float32]:
        """Compute the share of the states of `rows` (n,) in a request's scores at `now`, epoch ms, for a user (p,)."""
        values = gather_rows(self.values, rows)
        decayed: NDArray[np.float32] = values[:, :-1] @ user + values[:, -1]
        lost = states.log_popularity(rows, now) - states.log_popularity(rows, states.last[rows])
        return decayed + self._scorer.popularity_factor * lost
