"""One version of the index in memory: its model, item vectors, and the items of every node."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hsnn.serving.mirror.engine_index import EngineIndex
from hsnn.serving.mirror.state_vectors import StateVectors
from hsnn.trainer.features.item_counters import ItemCounters
from hsnn.trainer.features.item_prior import log_item_prior
from hsnn.trainer.model.scorer import Scorer
from hsnn.trainer.retrieval.inverted_lists import InvertedLists
from hsnn.trainer.retrieval.leaf_records import RecordColumns
from hsnn.trainer.rowstore.arrays import grown


class MirroredIndex:
    """Index of one version; replaced as a whole by the next version, changed in place by deltas.

    Attributes
    ----------
    version : int
    scorer : Scorer
        The query side of its model.
    vectors : (rows, W) float32
        Static item vectors; zero where none is known.
    leaves : InvertedLists
        Items of each node with their prior.
    state_vectors : StateVectors
    engine : EngineIndex or None
        What the compiled engine reads; None without it.
    """

    def __init__(
        self,
        version: int,
        scorer: Scorer,
        vectors: NDArray[np.float32],
        nodes: NDArray[np.int32],
        states: ItemCounters,
        engine: bool = False,
    ) -> None:
        self.version = version
        self.scorer, self.config = scorer, scorer.config
        config = self.config
        self.vectors: NDArray[np.float32] = np.array(vectors, np.float32).reshape(-1, config.vector_width)
        self.leaves = InvertedLists(config.leaves)
        self.leaves.reserve(len(nodes))
        self.leaves.node_of[: len(nodes)] = nodes  # `rebuild_log_mass` must follow, which makes the lists
        self.state_vectors = StateVectors(self.scorer, states)
        self.engine = EngineIndex(config, self.scorer) if engine else None

    def reserve(self, rows: int) -> None:
        """Make room for `rows` rows."""
        self.vectors = grown(self.vectors, rows)
        self.leaves.reserve(rows)

    def insert(self, row: int, node: int, vector: NDArray[np.float32] | None) -> None:
        """Insert or move an item; `update_log_mass` must follow. `vector` is (W,), or None to keep the one there is."""
        self.reserve(row + 1)
        if vector is not None:
            self.vectors[row] = vector
        self.leaves.assign(row, node)

    def remove(self, row: int) -> None:
        """Remove an item; its vector stays, because histories refer to it."""
        self.leaves.remove(row)
        if row < len(self.leaves.log_mass):
            self.leaves.clear(np.array([row]))  # it may come back under another half-life

    def rebuild_records(self, until: NDArray[np.int64], states: ItemCounters, now: int) -> None:
        """Make all records of the engine, if there is one; `until` (rows,) is when items stop being retrievable.

        Popularity is decayed to `now`, epoch ms.
        """
        if self.engine is not None:
            self.engine.records.as_of = now
            self.engine.rebuild(self._record_columns(until), states)

    def update_records(self, rows: NDArray[np.int64], until: NDArray[np.int64], states: ItemCounters, now: int) -> None:
        """Make the engine's records of unique `rows` (n,), and decay popularity in all of them once a second."""
        if self.engine is not None:
            self.engine.update(rows, self._record_columns(until), states)
            self.engine.records.refresh(now, states)

    def set_ends(self, until: NDArray[np.int64]) -> None:
        """Set in all records of the engine when items stop being retrievable, (rows,)."""
        if self.engine is not None:
            self.engine.records.set_ends(until)

    def _record_columns(self, until: NDArray[np.int64]) -> RecordColumns:
        return RecordColumns(self.leaves.node_of, self.vectors, self.state_vectors.values, until)

    def is_indexed(self, row: int) -> bool:
        """Whether the row is in a node."""
        return 0 <= row < len(self.leaves.node_of) and bool(self.leaves.node_of[row] >= 0)

    def node(self, row: int) -> int | None:
        """Return the node of a row; None if it is in none."""
        return int(self.leaves.node_of[row]) if self.is_indexed(row) else None

    def update_log_mass(self, rows: NDArray[np.int64], states: ItemCounters, half_life: int) -> None:
        """Set the log mass (prior) of those of the unique `rows` that are indexed.

        Masses are relative to the epoch 0 ms, not to a time of this mirror, so that all mirrors agree.
        """
        indexed = rows[rows < len(self.leaves.node_of)]
        indexed = indexed[self.leaves.node_of[indexed] >= 0]
        self.leaves.set_log_mass(indexed, self._log_mass(indexed, states, half_life))

    def rebuild_log_mass(self, states: ItemCounters, half_life: int) -> None:
        """Recompute the log mass of all items: masses of different half-lives are not comparable."""
        nodes = self.leaves.node_of.copy()
        indexed = np.flatnonzero(nodes >= 0)
        self.leaves.log_mass[:] = -np.inf
        self.leaves.log_mass[indexed] = self._log_mass(indexed, states, half_life)
        self.leaves.assign_all(nodes)

    def _log_mass(self, rows: NDArray[np.int64], states: ItemCounters, half_life: int) -> NDArray[np.float64]:
        def expect(item_rows: NDArray[np.int64], features: NDArray[np.float32]) -> NDArray[np.float32]:
            return self.scorer.mean_user_scores(self.vectors[item_rows], features)

        return log_item_prior(states, rows, half_life, origin=0, expect=expect)
