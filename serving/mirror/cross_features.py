"""Inputs of the user-item cross features by item row: content tokens and co-visitation."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import NDArray

from hsnn.streaming.schema.events import Feature
from hsnn.trainer.config.model import ModelConfig
from hsnn.trainer.features.covisitation import Covisitation
from hsnn.trainer.features.cross_features import cross_features_of_query
from hsnn.trainer.features.hashing import hash_features
from hsnn.trainer.features.queries import QueryArrays
from hsnn.trainer.messages import Snapshot, StateDelta
from hsnn.trainer.rowstore.arrays import grown


class MirroredCrossFeatures:
    """Tokens and co-visitation by item row; empty if the model has no cross features.

    Attributes
    ----------
    tokens : (rows, T) int32
        Content tokens, -1 padded.
    covisitation : Covisitation
    """

    def __init__(self, config: ModelConfig, snapshot: Snapshot) -> None:
        self._config = config
        self._ignored = frozenset(config.ignored_features)
        self.tokens: NDArray[np.int32] = np.full((0, config.item_tokens), -1, np.int32)
        self.covisitation = Covisitation(rows=0)
        rows, items = np.arange(len(snapshot.item_ids)), snapshot.items
        if config.counts_pairs:
            self.covisitation.set_rows(
                rows, items["neighbours"], items["weights"], totals=items["totals"], last=items["paired"]
            )
        self.load_snapshot(snapshot, rows)

    def reserve(self, rows: int) -> None:
        """Make room for `rows` rows."""
        if self._config.cross:
            self.tokens = grown(self.tokens, rows, -1)
        if self._config.counts_pairs:
            self.covisitation.reserve(rows)

    def load_snapshot(self, snapshot: Snapshot, changed: Iterable[int]) -> None:
        """Copy a snapshot's tokens of the `changed` rows."""
        if self._config.cross:
            rows = np.array([*changed], np.int64)
            self.reserve(int(rows.max(initial=-1)) + 1)
            self.tokens[rows] = snapshot.items["tokens"][rows]

    def set_features(self, row: int, features: Mapping[str, Feature]) -> None:
        """Hash the features of an item into its tokens."""
        if self._config.cross:
            hashed = hash_features(features, self._config.buckets, self._config.item_tokens, self._ignored)
            self.reserve(row + 1)
            self.tokens[row] = -1
            self.tokens[row, : len(hashed)] = hashed

    def apply_state(self, delta: StateDelta) -> None:
        """Overwrite the co-visitation of the items in a state delta."""
        if self._config.counts_pairs:
            self.covisitation.set_rows(
                delta.item_rows,
                delta.item_neighbours,
                delta.item_weights,
                totals=delta.item_totals,
                last=delta.item_paired,
            )

    def features(self, queries: QueryArrays, number: int, rows: NDArray[np.integer]) -> NDArray[np.float32]:
        """Compute the cross features of one query with items `rows` (n,), ascending: (n, CROSS_FEATURES)."""
        return cross_features_of_query(queries, number, self.tokens, candidates=rows, pairs=self.covisitation)
