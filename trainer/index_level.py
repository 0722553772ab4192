"""Learning to index: the learned level's nodes and the assignment of items to them.

HSNN (arXiv 2408.06653) §4, straight-through as in OneShot (2607.27475): the forward pass uses the hard assignment that
is served, the backward pass the soft one. The item vectors enter detached through a head of the level's own, so that
the index costs the item-level model nothing.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from trainer.config import ModelConfig


class IndexLevel(nn.Module):
    """One level of `nodes` node vectors (K, d), with the head that item vectors pass on their way to it."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.nodes = nn.Parameter(0.1 * torch.randn(config.nodes, config.dim))
        self.head = nn.Linear(config.dim, config.dim, bias=False)
        nn.init.eye_(self.head.weight)

    def project(self, vectors: Tensor) -> Tensor:
        """Item vectors (n, d) in the index's own space (n, d); no gradient reaches the items."""
        out: Tensor = self.head(vectors.detach())
        return out

    def distances(self, projected: Tensor) -> Tensor:
        """Squared distances (n, K) of projected items (n, d) to the nodes."""
        squares = projected.square().sum(1, keepdim=True) + self.nodes.square().sum(1)
        return (squares - 2 * projected @ self.nodes.T).clamp_min(0)

    def assign(self, vectors: Tensor) -> Tensor:
        """Hard assignment of item vectors (n, d): node rows (n,)."""
        return self.distances(self.project(vectors)).argmin(1)


def soft_assignment(distances: Tensor, sharpness: float) -> Tensor:
    """Soft assignment (n, K) from squared distances (n, K), `sharpness` being relative to their mean."""
    return torch.softmax(-sharpness * distances / distances.mean().detach().clamp_min(1e-12), 1)


def straight_through(soft: Tensor) -> Tensor:
    """One-hot rows of the largest entries (n, K) that pass gradients on to `soft`."""
    hard = torch.zeros_like(soft).scatter_(1, soft.argmax(1, keepdim=True), 1.0)
    return hard + soft - soft.detach()
