"""Item embeddings: id and content tables, and the static item vectors computed from them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hsnn.trainer.config.model import TrainerConfig
from hsnn.trainer.modules.towers import ItemTower
from hsnn.trainer.optim.embedding_table import EmbeddingTable

# Standard deviation of the initial content embeddings: ids start at zero, so that content alone tells items apart.
_CONTENT_SCALE = 0.1
# Factor of the gradients of biases: counted popularity is in the logit, and a bias only corrects it. At 1 biases move
# farthest of all in a first step, which hides what was counted.
_BIAS = 0.1


class GatheredItems(NamedTuple):
    """Static vectors (n, W) of gathered items, their id and content leaves, and the content rows of the second leaf."""

    vectors: Tensor
    ids: Tensor
    content: Tensor
    content_rows: NDArray[np.int64]


class ItemEmbeddings:
    """Embedding tables of items, each with its Adagrad state.

    Attributes
    ----------
    ids : EmbeddingTable
        Id embeddings (rows, d+1), initially zero: the vector of a new item comes from its content alone.
    content : EmbeddingTable
        Content embeddings (buckets, d+1).
    """

    def __init__(self, config: TrainerConfig, tower: ItemTower) -> None:
        model = config.model
        self._tower = tower
        self.ids = EmbeddingTable(1024, model.dim + 1, bias=_BIAS)
        self.content = EmbeddingTable(model.buckets, model.dim + 1, _CONTENT_SCALE, config.seed, bias=_BIAS)
        self.content.weight[:, -1] = 0

    def reserve(self, rows: int) -> None:
        """Grow the id table to a capacity of at least `rows` rows."""
        self.ids.reserve(rows)

    def gather(self, rows: NDArray[np.int64], tokens: NDArray[np.int32]) -> GatheredItems:
        """Compute the static vectors of unique `rows` (n,) with content tokens (n, T), with gradients."""
        present = tokens >= 0
        used, inverse = np.unique(tokens[present], return_inverse=True)
        content_rows: NDArray[np.int64] = used.astype(np.int64)
        ids, content = self.ids.gather(rows), self.content.gather(content_rows)
        # Each token that is present adds its row to its item's sum.
        owners = torch.from_numpy(np.repeat(np.arange(len(rows)), present.sum(1)))
        added = content.index_select(0, torch.from_numpy(inverse.astype(np.int64)))
        summed = torch.zeros(len(rows), content.shape[1]).index_add(0, owners, added)
        return GatheredItems(self._tower(ids, summed), ids, content, content_rows)

    def vectors(self, rows: NDArray[np.int64], tokens: NDArray[np.int32]) -> Tensor:
        """Compute the static vectors (n, W) of unique `rows` (n,), without gradients."""
        with torch.no_grad():
            return self.gather(rows, tokens).vectors

    def apply_gradients(self, rows: NDArray[np.int64], taken: GatheredItems, rate: float) -> None:
        """Apply the gradients of what was gathered for `rows`."""
        self.ids.apply_gradients(rows, taken.ids, rate)
        self.content.apply_gradients(taken.content_rows, taken.content, rate)
