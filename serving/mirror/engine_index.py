"""What the compiled engine reads of one version: leaf-contiguous records, weights as arrays, log shares of nodes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hsnn.trainer.config.model import ModelConfig
from hsnn.trainer.features.item_counters import ItemCounters
from hsnn.trainer.model.scorer import Scorer
from hsnn.trainer.retrieval.inverted_lists import InvertedLists
from hsnn.trainer.retrieval.leaf_records import LeafRecords, RecordColumns
from hsnn.trainer.retrieval.leaf_scan import Floats
from hsnn.trainer.retrieval.user_towers import joined_log_shares


class EngineIndex:
    """Arrays of the compiled engine, updated beside those of the `MirroredIndex` that they are made from.

    Attributes
    ----------
    records : LeafRecords
    towers : TowerWeights or None
        None if kernels do not know the model's towers.
    state_tower : StateTowerWeights
    ensemble : float
        Factor of a leaf's log probability in the scores of its items.
    """

    def __init__(self, config: ModelConfig, scorer: Scorer) -> None:
        self._counts = config.levels
        width = config.dim * min(config.user_vectors, config.item_vectors) + config.state_dim
        self.records = LeafRecords(config.leaves, width, scorer.popularity_factor)
        self.towers, self.state_tower = scorer.tower_weights(), scorer.state_tower_weights()
        self.pairs = scorer.pair_weights()
        self.ensemble = scorer.ensemble
        self._nothing: Floats = np.zeros(config.leaves, np.float32)
        self._log_shares: Floats | None = None

    def log_shares(self, leaves: InvertedLists) -> Floats:
        """Return the log share of every node in its family's traffic, level by level; kept until an update."""
        shares = self._log_shares
        if shares is None:
            shares = self._log_shares = joined_log_shares(leaves.node_log_share(), self._counts)
        return shares

    def leaf_scores(self, log_probs: Floats) -> Floats:
        """Return what each leaf adds to the scores of its items, (K,), from their log probabilities (K,)."""
        return self.ensemble * log_probs if self.ensemble else self._nothing

    def rebuild(self, columns: RecordColumns, states: ItemCounters) -> None:
        """Make the records of all items."""
        self._log_shares = None
        self.records.rebuild(columns, states)

    def update(self, rows: NDArray[np.int64], columns: RecordColumns, states: ItemCounters) -> None:
        """Make the records of unique `rows` (n,) anew."""
        self._log_shares = None
        self.records.update(rows, columns, states)
