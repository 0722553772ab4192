"""The same index with its item -> node map shuffled: what the map is worth, everything else being equal."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from hsnn.evaluation.harness.query_batch import Field, Found, best_of
from hsnn.evaluation.metrics.ranks import ranks_within
from hsnn.indexer.store.delta import Delta
from hsnn.serving.mirror.mirror import EpochState
from hsnn.trainer.messages import StateDelta
from hsnn.trainer.retrieval.inverted_lists import Leaves


class ShuffledIndex:
    """Follows a mirror's index; at every version nodes keep their sizes, but their items are drawn at random.

    An item that arrives between two versions goes to a random node.
    """

    def __init__(self, nodes: int, seed: int = 0) -> None:
        self._rng = np.random.default_rng([seed, 2])
        self.leaves = Leaves(nodes)
        self._half_life = -1

    def follow(self, world: EpochState, state: StateDelta, deltas: Sequence[Delta], flipped: bool) -> None:
        """Take over what happened to the mirror's index: touched states, item deltas, and whether a version came."""
        if flipped:
            self._shuffle(world)
        for delta in deltas:
            if delta.op == "delete":
                self.leaves.remove(delta.row)
            elif delta.op == "insert":
                self.leaves.put(delta.row, int(self._rng.integers(len(self.leaves.sizes))))
        own = world.index.leaves
        touched = np.union1d(state.item_rows, [delta.row for delta in deltas]).astype(np.int64)
        self.leaves.set_mass(touched, own.log_mass[touched])
        if world.half_life != self._half_life:
            self._half_life = world.half_life
            self.leaves.set_mass(np.arange(len(own.log_mass)), own.log_mass)

    def judge(self, field: Field, scores: NDArray[np.float32]) -> Found:
        """Answer as the served path would over this index; `scores` (B, N) are the served model's."""
        index, alive = field.state.index, field.state.alive()
        encoded = index.scorer.encode(field.queries, index.vectors, self.leaves.node_log_share())
        budget = index.config.budget
        order = np.full((len(field), budget), -1, np.int64)
        may = np.zeros(len(self.leaves.node_of), np.bool_)
        may[field.rows] = True
        for number, history in enumerate(field.queries.history_items):
            allowed = may.copy()
            allowed[history[(history >= 0) & (history < len(alive))]] = False
            rows = self.leaves.candidates(
                encoded.seen[number], index.config.beam, budget, allowed.__getitem__
            ).best_first()  # (<= budget,)
            order[number, : len(rows)] = field.at(rows)
        ranks, scored = ranks_within(order, scores, field.places, (budget,))
        return Found(ranks[:, 0], best_of(order, scores), scored[:, 0])

    def _shuffle(self, world: EpochState) -> None:
        own = world.index.leaves
        nodes = own.node_of.copy()
        held = np.flatnonzero(nodes >= 0)
        nodes[held] = self._rng.permutation(nodes[held])
        self.leaves.assign_all(nodes)
        self.leaves.set_mass(held, own.log_mass[held])
