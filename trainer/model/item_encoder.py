"""Item encoder: the item side of a published model, static vectors and the assignment of items to leaves."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hsnn.trainer.config.model import ModelConfig
from hsnn.trainer.index.hierarchy import Hierarchy, index_vectors
from hsnn.trainer.index.maintenance import nearest_items
from hsnn.trainer.model.nearest_points import KeptAssignment, NearestPoints
from hsnn.trainer.modules.towers import ItemTower
from hsnn.trainer.rowstore.arrays import Array, select_prefix

# Items whose content is summed at once: so many sums stay in the cache of a core.
_BLOCK_SUMS = 2048


def content_sum(content: NDArray[np.float32], tokens: NDArray[np.int32]) -> NDArray[np.float32]:
    """Sum the content rows (buckets, d+1) of tokens (n, T), -1 padded: (n, d+1)."""
    total = np.zeros((len(tokens), content.shape[1]), np.float32)
    for start in range(0, len(tokens), _BLOCK_SUMS):
        block = total[start : start + _BLOCK_SUMS]
        for column in tokens[start : start + _BLOCK_SUMS].T:
            present = column >= 0
            if present.all():
                block += content.take(column, axis=0)
            else:
                block[present] += content[column[present]]
    return total


class Encoder:
    """Encoder and assigner of items, with the weights of one snapshot.

    Parameters
    ----------
    config
        Configuration of the snapshot's model.
    arrays
        The snapshot's weights: ``content`` (buckets, d+1) and those of the MoNN.
    """

    def __init__(self, config: ModelConfig, arrays: Mapping[str, Array]) -> None:
        self._dim = config.dim
        self._content: NDArray[np.float32] = arrays["content"]
        self._tower, self._hierarchy = ItemTower(config), Hierarchy(config)
        for prefix, module in (("item_tower.", self._tower), ("levels.hierarchy.", self._hierarchy)):
            weights = select_prefix(arrays, prefix)
            module.load_state_dict({name: torch.from_numpy(array) for name, array in weights.items()})
        with torch.inference_mode():
            level = len(self._hierarchy) - 1
            self._nodes = self._hierarchy.node_vectors(level).detach()  # (K, d+1)
            self._factors = self._hierarchy.discount(level)
            self._points = self._nodes @ self._hierarchy.metric  # (K, d+1)
            self._nearest = NearestPoints(self._points, self._factors) if level == 0 else None

    @property
    def node_vectors(self) -> NDArray[np.float32]:
        """Return the vectors (K, d+1) of the leaves."""
        return self._nodes.numpy()

    def vectors(self, embeddings: NDArray[np.float32], tokens: NDArray[np.int32]) -> NDArray[np.float32]:
        """Compute static vectors (n, W), last column a bias, from id embeddings (n, d+1) and content tokens (n, T).

        An item that the snapshot does not know has an embedding of zeros: its vector is that of its content.
        """
        with torch.inference_mode():
            content = torch.from_numpy(content_sum(self._content, tokens))
            vectors: NDArray[np.float32] = self._tower(torch.from_numpy(embeddings), content).numpy()
        return vectors

    def assign(self, vectors: NDArray[np.float32]) -> NDArray[np.int32]:
        """Assign static vectors (n, W) to leaves (n,)."""
        with torch.inference_mode():
            projected = self._hierarchy.project(self._part(vectors))
            if self._nearest is None:
                return self._hierarchy.assign_projected(projected).numpy().astype(np.int32)
            return self._nearest.find(projected @ self._hierarchy.metric)

    def assign_again(self, vectors: NDArray[np.float32], kept: KeptAssignment, start: int) -> NDArray[np.int32]:
        """Assign static vectors (n, W) of the rows from `start` on, as `assign` does.

        Those that cannot have changed their leaf since the assignment before `kept` are not compared with all leaves.
        """
        if self._nearest is None or self._nearest.scaled:
            return self.assign(vectors)
        with torch.inference_mode():
            mapped = self._hierarchy.project(self._part(vectors)) @ self._hierarchy.metric
            return kept.find(self._nearest, start, mapped)

    def distances(self, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return squared distances (n, K) of vectors (n, W) to all leaves; of one level, `assign` is the argmin."""
        with torch.inference_mode():
            mapped = self._hierarchy.project(self._part(vectors)) @ self._hierarchy.metric  # (n, d+1)
            # |a - b|^2 = |a|^2 + |b|^2 - 2 a.b: one matrix product, no (n, K, d) differences; rounding may go below 0.
            squares = mapped.square().sum(1, keepdim=True) + self._points.square().sum(1)
            distances = (squares - 2 * mapped @ self._points.T).clamp_min(0)
            return (distances * self._factors).numpy()

    def distances_to(self, vectors: NDArray[np.float32], nodes: NDArray[np.integer]) -> NDArray[np.float32]:
        """Compute squared distances (n,) of static vectors (n, W) to one leaf each, nodes (n,)."""
        with torch.inference_mode():
            differences = self._hierarchy.project(self._part(vectors)) - torch.from_numpy(self.node_vectors[nodes])
            factors = self._hierarchy.discount(len(self._hierarchy) - 1)[torch.from_numpy(np.asarray(nodes, np.int64))]
            squares = (differences @ self._hierarchy.metric).square().sum(1)
            distances: NDArray[np.float32] = (squares * factors).numpy()
        return distances

    def representatives(
        self, vectors: NDArray[np.float32], rows: NDArray[np.integer], nodes: NDArray[np.integer]
    ) -> NDArray[np.int32]:
        """Select the row nearest to each leaf's vector among its items, (K,); -1 for a leaf without items.

        `vectors` (n, W) and `nodes` (n,) belong to `rows` (n,).
        """
        chosen = np.full(len(self.node_vectors), -1, np.int32)
        if len(rows) == 0:
            return chosen
        with torch.inference_mode():
            differences = self._hierarchy.project(self._part(vectors)) - torch.from_numpy(self.node_vectors[nodes])
            distances = (differences @ self._hierarchy.metric).square().sum(1).numpy()
        leaves, nearest = nearest_items(nodes, distances)
        chosen[leaves] = rows[nearest]
        return chosen

    def _part(self, vectors: NDArray[np.float32]) -> Tensor:
        return index_vectors(torch.from_numpy(vectors), self._dim)
