"""The item side of a published model: static item vectors and the assignment of items to nodes."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray

from trainer.arrays import Array
from trainer.config import ModelConfig
from trainer.index_level import IndexLevel


def content_sum(content: NDArray[np.float32], tokens: NDArray[np.int32]) -> NDArray[np.float32]:
    """Sum of the content rows (buckets, d+1) of tokens (n, T), -1 padded: (n, d+1)."""
    total = np.zeros((len(tokens), content.shape[1]), np.float32)
    for column in tokens.T:
        present = column >= 0
        total[present] += content[column[present]]
    return total


class Encoder:
    """Encodes and assigns items with the weights of one snapshot.

    Parameters
    ----------
    config
        The snapshot's model.
    arrays
        The snapshot's weights: ``content`` (buckets, d+1) and the model's own.
    """

    def __init__(self, config: ModelConfig, arrays: Mapping[str, Array]) -> None:
        self._content: NDArray[np.float32] = arrays["content"]
        self._level = IndexLevel(config)
        prefix = "index."
        weights = {
            name.removeprefix(prefix): torch.from_numpy(array)
            for name, array in arrays.items()
            if name.startswith(prefix)
        }
        self._level.load_state_dict(weights)

    @property
    def node_vectors(self) -> NDArray[np.float32]:
        """Node vectors (K, d)."""
        return self._level.nodes.detach().numpy()

    def vectors(self, embeddings: NDArray[np.float32], tokens: NDArray[np.int32]) -> NDArray[np.float32]:
        """Make static vectors (n, d+1), last column a bias, of id embeddings (n, d+1) and content tokens (n, T).

        An item that the snapshot has never seen has an embedding of zeros: its content speaks for it.
        """
        return embeddings + content_sum(self._content, tokens)

    def assign(self, vectors: NDArray[np.float32]) -> NDArray[np.int32]:
        """Nodes (n,) of static vectors (n, d+1)."""
        with torch.inference_mode():
            return self._level.assign(torch.from_numpy(vectors[:, :-1])).numpy().astype(np.int32)

    def representatives(
        self, vectors: NDArray[np.float32], rows: NDArray[np.integer], nodes: NDArray[np.integer]
    ) -> NDArray[np.int32]:
        """Choose the row nearest to each node's vector among its own items, (K,); -1 for a node without items.

        `vectors` (n, d+1) and `nodes` (n,) belong to `rows` (n,).
        """
        chosen = np.full(len(self.node_vectors), -1, np.int32)
        if len(rows) == 0:
            return chosen
        with torch.inference_mode():
            projected = self._level.project(torch.from_numpy(vectors[:, :-1])).numpy()
        distance = np.square(projected - self.node_vectors[nodes]).sum(1)
        order = np.lexsort((distance, nodes))
        first = np.flatnonzero(np.r_[True, np.diff(nodes[order]) > 0])
        chosen[nodes[order[first]]] = rows[order[first]]
        return chosen
