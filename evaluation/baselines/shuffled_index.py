"""The served index with its item -> node map shuffled: measures what the map is worth, everything else being equal."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from hsnn.evaluation.baselines.base import (
    SERVED_MODEL,
    Baseline,
    BaselineDeclaration,
    LearnedBatch,
    ScoredBatch,
)
from hsnn.evaluation.metrics.ranks import ranks_within
from hsnn.evaluation.queries.query_batch import MethodResult, top_of_order
from hsnn.indexer.store.delta import Delta
from hsnn.serving.mirror.epoch_state import EpochState
from hsnn.trainer.messages import StateDelta
from hsnn.trainer.retrieval.inverted_lists import InvertedLists


class ShuffledIndexBaseline(Baseline):
    """Follows the mirror's index; at every version nodes keep their sizes, but get their items at random.

    An item that arrives between two versions goes to a random node.
    """

    name = "shuffled_index"

    def __init__(self, nodes: int, seed: int = 0) -> None:
        self._rng = np.random.default_rng([seed, 2])
        self.leaves = InvertedLists(nodes)
        self._half_life = -1

    def learn(self, batch: LearnedBatch) -> None:
        """Apply what the batch changed in the mirror's index."""
        if batch.state is not None:
            self.follow(batch.state, batch.state_delta, batch.deltas, batch.new_version)

    def follow(self, state: EpochState, state_delta: StateDelta, deltas: Sequence[Delta], new_version: bool) -> None:
        """Apply changed states and item deltas; shuffle anew after a new version."""
        if new_version:
            self._shuffle(state)
        for delta in deltas:
            if delta.op == "delete":
                self.leaves.remove(delta.row)
            elif delta.op == "insert":
                self.leaves.assign(delta.row, int(self._rng.integers(len(self.leaves.sizes))))
        served = state.index.leaves
        changed = np.union1d(state_delta.item_rows, [delta.row for delta in deltas]).astype(np.int64)
        self.leaves.set_log_mass(changed, served.log_mass[changed])
        if state.half_life != self._half_life:
            self._half_life = state.half_life
            self.leaves.set_log_mass(np.arange(len(served.log_mass)), served.log_mass)

    def answer(self, batch: ScoredBatch) -> dict[str, MethodResult]:
        """Answer as the served path would over this index, with the served model's scores."""
        queries, scores = batch.queries, batch.scores[SERVED_MODEL]
        index, alive = queries.state.index, queries.state.alive()
        encoded = index.scorer.encode(queries.queries, index.vectors, self.leaves.node_log_share())
        budget = index.config.budget
        order = np.full((len(queries), budget), -1, np.int64)
        retrievable = np.zeros(len(self.leaves.node_of), np.bool_)
        retrievable[queries.rows] = True
        for number, excluded in enumerate(queries.sampled.excluded):
            allowed = retrievable.copy()
            allowed[excluded[(excluded >= 0) & (excluded < len(alive))]] = False
            rows = self.leaves.candidates(
                encoded.beam_log_probs[number], index.config.beam, budget, allowed.__getitem__
            ).rows_by_key()  # (<= budget,)
            order[number, : len(rows)] = queries.positions(rows)
        ranks, scored = ranks_within(order, scores, queries.targets, (budget,))
        return {self.name: MethodResult(ranks[:, 0], top_of_order(order, scores), scored[:, 0])}

    def _shuffle(self, state: EpochState) -> None:
        served = state.index.leaves
        nodes = served.node_of.copy()
        indexed = np.flatnonzero(nodes >= 0)
        nodes[indexed] = self._rng.permutation(nodes[indexed])
        self.leaves.assign_all(nodes)
        self.leaves.set_log_mass(indexed, served.log_mass[indexed])


BASELINES = (
    BaselineDeclaration(
        "shuffled_index", lambda given: ShuffledIndexBaseline(given.config.model.leaves, given.config.seed)
    ),
)
