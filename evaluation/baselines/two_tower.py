"""A plain two-tower model of the same stream: the same towers and one dot product, no nodes, searched exhaustively.

It is a second learner, published at the same moments as the model that serves. Its item vector is what one dot product
needs: static vector, state part and bias side by side.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from hsnn.evaluation.harness.query_batch import Field, View
from hsnn.indexer.assign.assigner import Assigner, snapshot_encoder
from hsnn.serving.mirror.mirror import EpochState
from hsnn.streaming.schema.batch import Batch
from hsnn.trainer.config.model import ModelConfig, TrainerConfig
from hsnn.trainer.model.scorer import Encoded, Scorer
from hsnn.trainer.publish.snapshot import SnapshotOrigin, snapshot_of
from hsnn.trainer.rowstore.arrays import grown
from hsnn.trainer.training.learner import Learner
from hsnn.trainer.training.prepared import Prepared

_NEVER = 2**62


def plain(config: TrainerConfig) -> TrainerConfig:
    """Return the configuration of the two-tower rival: one dot product, no nodes, no tasks; the rest is the same."""
    single = {"preset": "tiny", "over_arch": "dot", "user_vectors": 1, "item_vectors": 1, "cross": False, "tasks": ()}
    return config.model_copy(
        update={
            "model": config.model.model_copy(update=single),
            "index": config.index.model_copy(update={"seed_after": _NEVER}),
        }
    )


class TwoTower:
    """Learns what the served model learns; rows are the same, because both see the same batches.

    Attributes
    ----------
    learner : Learner
    published : int
        Versions so far; before the first there is nothing to search.
    """

    def __init__(self, config: TrainerConfig) -> None:
        self.learner = Learner(plain(config))
        self.published = 0
        self._prepared: Prepared | None = None

    def prepare(self, batch: Batch) -> None:
        """Take in the batch that the served model prepares."""
        self._prepared = self.learner.prepare(batch)

    def learn(self, flipped: bool) -> NDArray[np.int64]:
        """Learn the prepared batch; publish if the served model did. Return the rows (n,) whose vectors are new."""
        assert self._prepared is not None
        self.learner.train(self._prepared)
        if flipped:
            self._publish()
            return np.arange(len(self.learner.items))
        if not self.published:
            return np.zeros(0, np.int64)
        changed = np.array(sorted(item.row for item in self._prepared.feed), np.int64)
        self._place(changed)
        return changed

    def view(self, field: Field) -> View:
        """How the model sees a field."""
        return View(
            self.scorer, self.scorer.encode(field.queries, self.vectors, self._share), self.vectors, self._nodes
        )

    def items(self, world: EpochState, rows: NDArray[np.int64], now: int) -> NDArray[np.float32]:
        """Item vectors (n, d + p + 1) of `rows` (n,) as their states are at `now`, epoch ms."""
        return item_side(self.scorer, self.vectors[rows], world.states.features(rows, now))

    def _publish(self) -> None:
        self.published += 1
        snapshot = snapshot_of(self.learner, SnapshotOrigin(self.published, 1, "two_tower"))
        config = ModelConfig.model_validate(snapshot.manifest.model)
        self.scorer = Scorer(config, snapshot.model)
        self._assigner = Assigner(snapshot, snapshot_encoder(snapshot))
        self._share = np.zeros(config.leaves, np.float32)
        self.vectors: NDArray[np.float32] = np.zeros((0, config.dim + 1), np.float32)
        self._place(np.arange(len(self.learner.items)))

    def _place(self, rows: NDArray[np.int64]) -> None:
        self.vectors = grown(self.vectors, len(self.learner.states.last))
        self._nodes: NDArray[np.int32] = np.full(len(self.vectors), -1, np.int32)
        self.vectors[rows] = self._assigner.place(rows, self.learner.items.tokens[rows]).vectors


@torch.inference_mode()
def item_side(scorer: Scorer, vectors: NDArray[np.float32], state_features: NDArray[np.float32]) -> NDArray[np.float32]:
    """Join the item's half of the dot product, (n, d + p + 1): static vector, state vector, both biases.

    `vectors` are (n, d+1), `state_features` (n, F).
    """
    state = scorer.model.state_tower(torch.from_numpy(state_features)).numpy()  # (n, p+1)
    bias = vectors[:, -1:] + state[:, -1:]
    return np.concatenate([vectors[:, :-1], state[:, :-1], bias], 1)


def user_side(encoded: Encoded) -> NDArray[np.float32]:
    """Join the users' half of the dot product, (B, d + p + 1)."""
    item, state = encoded.users.item.numpy(), encoded.users.state.numpy()
    return np.concatenate([item, state, np.ones((len(item), 1), np.float32)], 1)
