"""Assignment: static vectors and nodes of items, under the model of one snapshot."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from hsnn.indexer.assign.capacity import FREE, Placing
from hsnn.indexer.deadline import safe_point
from hsnn.indexer.progress import so_far
from hsnn.trainer.config.model import ModelConfig
from hsnn.trainer.messages import Snapshot
from hsnn.trainer.model.item_encoder import Encoder


class ItemEncoder(Protocol):
    """What assignment needs of `hsnn.trainer.model.item_encoder.Encoder`."""

    @property
    def node_vectors(self) -> NDArray[np.float32]:
        """Vectors (K, d+1) of the leaves."""

    def vectors(self, embeddings: NDArray[np.float32], tokens: NDArray[np.int32]) -> NDArray[np.float32]:
        """Make static vectors (n, W) of id embeddings (n, d+1) and tokens (n, T)."""

    def assign(self, vectors: NDArray[np.float32]) -> NDArray[np.int32]:
        """Leaves (n,) of vectors (n, W)."""

    def distances(self, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        """Squared distances (n, K) of vectors (n, W) to all leaves."""

    def distances_to(self, vectors: NDArray[np.float32], nodes: NDArray[np.integer]) -> NDArray[np.float32]:
        """Squared distances (n,) of vectors (n, W) to one leaf each, nodes (n,)."""

    def representatives(
        self, vectors: NDArray[np.float32], rows: NDArray[np.integer], nodes: NDArray[np.integer]
    ) -> NDArray[np.int32]:
        """Choose the representative row of every node, (K,), -1 = none."""


MakeEncoder = Callable[[Snapshot], ItemEncoder]


def snapshot_encoder(snapshot: Snapshot) -> ItemEncoder:
    """Make the encoder of a snapshot's model."""
    return Encoder(ModelConfig.model_validate(snapshot.manifest.model), snapshot.model)


class Placement(NamedTuple):
    """Vectors (n, W) float32 and nodes (n,) int32 of some items."""

    vectors: NDArray[np.float32]
    nodes: NDArray[np.int32]


class Assigner:
    """Places items under one snapshot's model.

    Parameters
    ----------
    snapshot
        Brings the id embeddings.
    encoder
        Brings content vectors and nodes.
    chunk
        Items encoded at once.
    rules
        What there is to placing beyond the nearest node; `hsnn.indexer.assign.placement` follows them.
    """

    def __init__(self, snapshot: Snapshot, encoder: ItemEncoder, chunk: int = 65_536, rules: Placing = FREE) -> None:
        self._embeddings: NDArray[np.float32] = snapshot.items["embeddings"]
        self._known = min(len(self._embeddings), len(snapshot.item_ids))
        self._encoder = encoder
        self._chunk = chunk
        self.rules = rules

    @property
    def nodes(self) -> int:
        """Nodes of the level, K."""
        return len(self._encoder.node_vectors)

    def place(self, rows: NDArray[np.int64], tokens: NDArray[np.int32]) -> Placement:
        """Place items by row (n,) and tokens (n, T); one newer than the snapshot has its content only."""
        starts = range(0, max(len(rows), 1), self._chunk)
        parts = [slice(start, start + self._chunk) for start in starts]
        placed = []
        for part in parts:
            placed.append(self._place(rows[part], tokens[part]))
            so_far("items encoded", min(part.stop, len(rows)), len(rows))
        return Placement(
            np.concatenate([part.vectors for part in placed]), np.concatenate([part.nodes for part in placed])
        )

    def distances(self, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        """Squared distances (n, K) of vectors (n, W) to all nodes."""
        return self._encoder.distances(vectors)

    def distances_to(self, vectors: NDArray[np.float32], nodes: NDArray[np.integer]) -> NDArray[np.float32]:
        """Squared distances (n,) of vectors (n, W) to one node each, (n,)."""
        starts = range(0, max(len(nodes), 1), self._chunk)
        parts = [slice(start, start + self._chunk) for start in starts]
        return np.concatenate([self._encoder.distances_to(vectors[part], nodes[part]) for part in parts])

    def representatives(self, vectors: NDArray[np.float32], nodes: NDArray[np.int32]) -> NDArray[np.int32]:
        """Choose each node's representative row, (K,), from all vectors (rows, W) and nodes (rows,), -1 = none."""
        rows = np.flatnonzero(nodes >= 0)
        return self._encoder.representatives(vectors[rows], rows, nodes[rows])

    def _place(self, rows: NDArray[np.int64], tokens: NDArray[np.int32]) -> Placement:
        safe_point("between two chunks of items that are encoded")
        vectors = self._encoder.vectors(self._id_part(rows), tokens)
        return Placement(vectors, self._encoder.assign(vectors))

    def _id_part(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        embeddings = np.zeros((len(rows), self._embeddings.shape[1]), np.float32)
        old = rows < self._known
        embeddings[old] = self._embeddings[rows[old]]
        return embeddings
