"""The rows of the item side: id and content embeddings, and the static vectors that they make."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from hsnn.trainer.config.model import TrainerConfig
from hsnn.trainer.modules.towers import ItemTower
from hsnn.trainer.optim.embedding_table import EmbeddingTable

# Standard deviation of the initial content embeddings: ids start at zero, so that content alone tells items apart.
_CONTENT_SCALE = 0.1


class GatheredItems(NamedTuple):
    """Static vectors (n, W) of some items, the leaves they were made of, and the content rows of the second leaf."""

    vectors: Tensor
    ids: Tensor
    content: Tensor
    content_rows: NDArray[np.int64]


class ItemEmbeddings:
    """Embeddings of items, each table with its optimiser.

    Attributes
    ----------
    ids : EmbeddingTable
        Id embeddings (rows, d+1), zero at first: an unseen item is what its content says.
    content : EmbeddingTable
        Content embeddings (buckets, d+1).
    """

    def __init__(self, config: TrainerConfig, tower: ItemTower) -> None:
        model = config.model
        self._tower = tower
        self.ids = EmbeddingTable(1024, model.dim + 1)
        self.content = EmbeddingTable(model.buckets, model.dim + 1, _CONTENT_SCALE, config.seed)
        self.content.weight[:, -1] = 0

    def reserve(self, rows: int) -> None:
        """Make room for `rows` rows."""
        self.ids.reserve(rows)

    def gather(self, rows: NDArray[np.int64], tokens: NDArray[np.int32]) -> GatheredItems:
        """Make the static vectors of unique `rows` (n,), whose content tokens are (n, T), to be learned."""
        present = tokens >= 0
        used, inverse = np.unique(tokens[present], return_inverse=True)
        content_rows: NDArray[np.int64] = used.astype(np.int64)
        ids, content = self.ids.gather(rows), self.content.gather(content_rows)
        starts = np.cumsum(present.sum(1)) - present.sum(1)
        bags = torch.from_numpy(inverse.astype(np.int64))
        if len(used):
            summed = functional.embedding_bag(bags, content, torch.from_numpy(starts.astype(np.int64)), mode="sum")
        else:
            summed = torch.zeros_like(ids)
        return GatheredItems(self._tower(ids, summed), ids, content, content_rows)

    def vectors(self, rows: NDArray[np.int64], tokens: NDArray[np.int32]) -> Tensor:
        """Make the static vectors (n, W) of unique `rows` (n,), not to be learned."""
        with torch.no_grad():
            return self.gather(rows, tokens).vectors

    def apply_gradients(self, rows: NDArray[np.int64], taken: GatheredItems, rate: float) -> None:
        """Apply the gradients of what was taken for `rows`."""
        self.ids.apply_gradients(rows, taken.ids, rate)
        self.content.apply_gradients(taken.content_rows, taken.content, rate)
