"""Assigner: encode items and find their nearest nodes, under the model of one snapshot."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from hsnn.indexer.assign.capacity import NEAREST_NODE, PlacementRules
from hsnn.indexer.job_context import check_deadline, report_progress
from hsnn.trainer.config.model import ModelConfig
from hsnn.trainer.messages import Snapshot
from hsnn.trainer.model.item_encoder import Encoder
from hsnn.trainer.model.nearest_points import KeptAssignment


class ItemEncoder(Protocol):
    """The part of `hsnn.trainer.model.item_encoder.Encoder` that assignment needs."""

    @property
    def node_vectors(self) -> NDArray[np.float32]:
        """Vectors (K, d+1) of the nodes."""

    def vectors(self, embeddings: NDArray[np.float32], tokens: NDArray[np.int32]) -> NDArray[np.float32]:
        """Encode id embeddings (n, d+1) and tokens (n, T) as static vectors (n, W)."""

    def assign(self, vectors: NDArray[np.float32]) -> NDArray[np.int32]:
        """Find the nearest nodes (n,) of vectors (n, W)."""

    def assign_again(self, vectors: NDArray[np.float32], kept: KeptAssignment, start: int) -> NDArray[np.int32]:
        """Find the nearest nodes (n,) of vectors (n, W), those of the rows from `start` on, helped by those before."""

    def distances(self, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        """Compute squared distances (n, K) of vectors (n, W) to all nodes."""

    def distances_to(self, vectors: NDArray[np.float32], nodes: NDArray[np.integer]) -> NDArray[np.float32]:
        """Compute squared distances (n,) of vectors (n, W) to one node each, nodes (n,)."""

    def representatives(
        self, vectors: NDArray[np.float32], rows: NDArray[np.integer], nodes: NDArray[np.integer]
    ) -> NDArray[np.int32]:
        """Choose the representative row of every node, (K,), -1 = none."""


MakeEncoder = Callable[[Snapshot], ItemEncoder]


def snapshot_encoder(snapshot: Snapshot) -> ItemEncoder:
    """Make the encoder of a snapshot's model."""
    return Encoder(ModelConfig.model_validate(snapshot.manifest.model), snapshot.model)


class Assignment(NamedTuple):
    """Static vectors (n, W) float32 and nearest nodes (n,) int32 of n items."""

    vectors: NDArray[np.float32]
    nodes: NDArray[np.int32]


class Assigner:
    """Encodes items and finds their nearest nodes under one snapshot's model.

    Parameters
    ----------
    snapshot
        Has the id embeddings.
    encoder
        Computes content vectors and nodes.
    chunk
        Items encoded at once.
    rules
        Followed by `hsnn.indexer.assign.placement`, which decides on the node that an item goes to.
    """

    def __init__(
        self, snapshot: Snapshot, encoder: ItemEncoder, chunk: int = 65_536, rules: PlacementRules = NEAREST_NODE
    ) -> None:
        self._embeddings: NDArray[np.float32] = snapshot.items["embeddings"]
        self._known = min(len(self._embeddings), len(snapshot.item_ids))
        self._encoder = encoder
        self._chunk = chunk
        self.rules = rules

    @property
    def node_count(self) -> int:
        """Number of nodes, K."""
        return len(self._encoder.node_vectors)

    def assign(
        self, rows: NDArray[np.int64], tokens: NDArray[np.int32], kept: KeptAssignment | None = None
    ) -> Assignment:
        """Encode items by row (n,) and tokens (n, T); one that is newer than the snapshot has no id embedding.

        With `kept`, `rows` are all rows in order, and their assignment is repeated where it may have changed.
        """
        assignments = []
        for chunk in self._chunks(len(rows)):
            assignments.append(self._assign_chunk(rows[chunk], tokens[chunk], kept, chunk.start))
            report_progress("items encoded", min(chunk.stop, len(rows)), len(rows))
        return Assignment(
            np.concatenate([assignment.vectors for assignment in assignments]),
            np.concatenate([assignment.nodes for assignment in assignments]),
        )

    def distances(self, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        """Compute squared distances (n, K) of vectors (n, W) to all nodes."""
        return self._encoder.distances(vectors)

    def distances_to(self, vectors: NDArray[np.float32], nodes: NDArray[np.integer]) -> NDArray[np.float32]:
        """Compute squared distances (n,) of vectors (n, W) to one node each, nodes (n,)."""
        chunks = self._chunks(len(nodes))
        return np.concatenate([self._encoder.distances_to(vectors[chunk], nodes[chunk]) for chunk in chunks])

    def representatives(self, vectors: NDArray[np.float32], nodes: NDArray[np.int32]) -> NDArray[np.int32]:
        """Choose each node's representative row, (K,), from all vectors (rows, W) and nodes (rows,), -1 = none."""
        rows = np.flatnonzero(nodes >= 0)
        return self._encoder.representatives(vectors[rows], rows, nodes[rows])

    def _chunks(self, count: int) -> list[slice]:
        """Cut `count` items into chunks; one, which is empty, if there are none."""
        return [slice(start, start + self._chunk) for start in range(0, max(count, 1), self._chunk)]

    def _assign_chunk(
        self, rows: NDArray[np.int64], tokens: NDArray[np.int32], kept: KeptAssignment | None, start: int
    ) -> Assignment:
        check_deadline("between two chunks of items that are encoded")
        vectors = self._encoder.vectors(self._id_embeddings(rows), tokens)
        if kept is None:
            return Assignment(vectors, self._encoder.assign(vectors))
        return Assignment(vectors, self._encoder.assign_again(vectors, kept, start))

    def _id_embeddings(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        embeddings = np.zeros((len(rows), self._embeddings.shape[1]), np.float32)
        known = rows < self._known  # newer items are encoded by their content alone
        embeddings[known] = self._embeddings[rows[known]]
        return embeddings
