"""A plain two-tower model learned from the same stream: one dot product, no nodes, searched exhaustively.

It is a second learner, published at the same moments as the served model. Its item vector holds all that one dot
product needs: static vector, state vector and bias side by side.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hsnn.evaluation.baselines.base import Baseline, BaselineDeclaration, LearnedBatch, ScoredBatch
from hsnn.evaluation.metrics.ranks import ranks_of
from hsnn.evaluation.queries.query_batch import MethodResult, ModelView, QueryBatch
from hsnn.indexer.assign.assigner import Assigner, snapshot_encoder
from hsnn.serving.mirror.epoch_state import EpochState
from hsnn.streaming.schema.batch import Batch
from hsnn.trainer.config.model import ModelConfig, TrainerConfig
from hsnn.trainer.model.scorer import EncodedQueries, Scorer
from hsnn.trainer.publish.snapshot import SnapshotOrigin, make_snapshot
from hsnn.trainer.rowstore.arrays import grown
from hsnn.trainer.training.learner import Learner
from hsnn.trainer.training.prepared import PreparedBatch

# `trainer.index.seed_after` in events: more than any stream has, so that the index is never learned.
_NEVER = 2**62


def two_tower_config(config: TrainerConfig) -> TrainerConfig:
    """Derive the two-tower model's configuration: one dot product, no nodes, no tasks; the rest stays the same."""
    single = {
        "preset": "tiny",
        "over_arch": "dot",
        "user_vectors": 1,
        "item_vectors": 1,
        "cross": False,
        "pair_features": False,
        "tasks": (),
    }
    return config.model_copy(
        update={
            "model": config.model.model_copy(update=single),
            "index": config.index.model_copy(update={"seed_after": _NEVER}),
        }
    )


class TwoTowerBaseline(Baseline):
    """Learns from the batches of the served model, so that rows mean the same items in both.

    Attributes
    ----------
    learner : Learner
    published : int
        Number of versions so far; before the first there is nothing to search.
    changed : (n,) int64
        Rows whose vectors the last batch changed.
    """

    name = "two_tower"

    def __init__(self, config: TrainerConfig) -> None:
        self.learner = Learner(two_tower_config(config))
        self.published = 0
        self.changed: NDArray[np.int64] = np.zeros(0, np.int64)
        self._prepared: PreparedBatch | None = None

    def prepare(self, batch: Batch) -> None:
        """Prepare the batch that the served model prepares."""
        self._prepared = self.learner.prepare(batch)

    def learn(self, batch: LearnedBatch) -> None:
        """Learn the prepared batch; publish if the served model did."""
        assert self._prepared is not None
        self.learner.train(self._prepared)
        if batch.new_version:
            self._publish()
            self.changed = np.arange(len(self.learner.items))
        elif self.published:
            self.changed = np.array(sorted(item.row for item in self._prepared.feed), np.int64)
            self._update_vectors(self.changed)

    def view(self, queries: QueryBatch) -> ModelView:
        """Encode the queries with this model."""
        encoded = self.scorer.encode(queries.queries, self.vectors, self._node_log_share)
        return ModelView(self.scorer, encoded, self.vectors, self._nodes)

    def answer(self, batch: ScoredBatch) -> dict[str, MethodResult]:
        """Answer by an exhaustive search."""
        scores, queries = batch.scores[self.name], batch.queries
        return {self.name: MethodResult(ranks_of(scores, queries.targets), queries.top_positions(scores))}

    def item_vectors(self, state: EpochState, rows: NDArray[np.int64], now: int) -> NDArray[np.float32]:
        """Item vectors (n, d + p + 1) of `rows` (n,) with their states at `now`, epoch ms."""
        return item_side(self.scorer, self.vectors[rows], state.states.features(rows, now))

    def _publish(self) -> None:
        self.published += 1
        snapshot = make_snapshot(self.learner, SnapshotOrigin(self.published, 1, "two_tower"))
        config = ModelConfig.model_validate(snapshot.manifest.model)
        self.scorer = Scorer(config, snapshot.model)
        self._assigner = Assigner(snapshot, snapshot_encoder(snapshot))
        self._node_log_share = np.zeros(config.leaves, np.float32)
        self.vectors: NDArray[np.float32] = np.zeros((0, config.dim + 1), np.float32)
        self._update_vectors(np.arange(len(self.learner.items)))

    def _update_vectors(self, rows: NDArray[np.int64]) -> None:
        self.vectors = grown(self.vectors, len(self.learner.states.last))
        self._nodes: NDArray[np.int32] = np.full(len(self.vectors), -1, np.int32)
        self.vectors[rows] = self._assigner.assign(rows, self.learner.items.tokens[rows]).vectors


BASELINES = (BaselineDeclaration("two_tower", lambda given: TwoTowerBaseline(given.config), default=False),)


def item_side(scorer: Scorer, vectors: NDArray[np.float32], state_features: NDArray[np.float32]) -> NDArray[np.float32]:
    """Join the item's half of the dot product, (n, d + p + 1): static vector, state vector, both biases.

    `vectors` are (n, d+1), `state_features` (n, F).
    """
    state = scorer.state_vectors(state_features)  # (n, p+1)
    bias = vectors[:, -1:] + state[:, -1:]
    return np.concatenate([vectors[:, :-1], state[:, :-1], bias], 1)


def user_side(encoded: EncodedQueries) -> NDArray[np.float32]:
    """Join the users' half of the dot product, (B, d + p + 1)."""
    item, state = encoded.users.item, encoded.users.state
    return np.concatenate([item, state, np.ones((len(item), 1), np.float32)], 1)
