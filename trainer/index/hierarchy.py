"""Hierarchical index: node codes of every level, and assignment of items to a path of nodes.

HSNN (arXiv 2408.06653) §4, residual levels as in residual quantisation: nodes of level 1 have no parent; a
node of a finer level is a (path, child) pair whose code is added to the vector of its parent. With ``p`` the projected
item,

    r_1 = p,   m_l = argmin over the children k of m_(l-1) of ||r_l - c_k||^2
    r_(l+1) = r_l - c_(m_l),   q = sum_l c_(m_l)

A level of many nodes stays cheap, as an item is compared with the children of its parent only.

An item enters as its first static vector and its bias, d+1 numbers; distances are measured after a linear map, the
**metric**, which ignores the bias unless a learner sets another one (`hsnn.trainer.index.learners.em`).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from hsnn.trainer.config.model import ModelConfig

# Distances (items * nodes) computed at once by chunked assignment: they stay in the processor's cache.
_AT_ONCE = 1 << 20
# Distances (items * nodes) above which assignment is chunked: from there on it is three times as fast.
_MANY = 1 << 23


class LevelPath(NamedTuple):
    """Assignment of n items at one level, each to one of k nodes: all nodes of level 1, or the children of its parent.

    Attributes
    ----------
    residual : (n, d+1)
        Projected item minus the codes of its coarser nodes.
    distances : (n, k)
        Squared, times the discounts.
    choice : (n,) int64
        Index of the nearest node among the k.
    nodes : (n,) int64
        Index of the nearest node among all nodes of the level.
    """

    residual: Tensor
    distances: Tensor
    choice: Tensor
    nodes: Tensor


class Hierarchy(nn.Module):
    """Codes of all levels, and the linear head that is applied to item vectors first.

    Attributes
    ----------
    levels : L integers
        Number of nodes of every level, K_l.
    codes : per level (K_l, d+1)
        Relative to the parent's vector.
    metric : (d+1, d+1)
        Distances are those of ``x @ metric``.

    Examples
    --------
    >>> hierarchy = Hierarchy(ModelConfig(dim=2, nodes=2, children=(2,)))
    >>> _ = hierarchy.codes[0].data.copy_(torch.tensor([[0.0, 0.0, 0.0], [10.0, 0.0, 0.0]]))
    >>> around = torch.tensor([[-1.0, 0.0, 0.0], [1.0, 0.0, 0.0]])
    >>> _ = hierarchy.codes[1].data.copy_(torch.cat([around, around]))
    >>> hierarchy.assign(torch.tensor([[0.6, 0.0, 5.0], [9.3, 0.0, 7.0]])).tolist()
    [1, 2]
    >>> hierarchy.node_vectors(1)[:, 0].tolist()
    [-1.0, 1.0, 9.0, 11.0]
    """

    metric: Tensor

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.levels = config.levels
        width = config.dim + 1
        self.codes = nn.ParameterList(nn.Parameter(0.1 * torch.randn(count, width)) for count in self.levels)
        self.head = nn.Linear(config.dim, config.dim, bias=False)
        nn.init.eye_(self.head.weight)
        blind = torch.eye(width)
        blind[-1, -1] = 0
        self.register_buffer("metric", blind)
        for level, count in enumerate(self.levels):
            self.register_buffer(f"discount_{level}", torch.ones(count))
            self.register_buffer(f"representative_{level}", torch.zeros(count, config.dim))

    def __len__(self) -> int:
        return len(self.levels)

    def discount(self, level: int) -> Tensor:
        """Return the factors on the distances to the nodes of a level, (K_l,); all 1 except with Streaming VQ."""
        factors: Tensor = getattr(self, f"discount_{level}")
        return factors

    def representative(self, level: int) -> Tensor:
        """Return the static vectors of the items nearest to the nodes, (K_l, d); zero for a node without one."""
        vectors: Tensor = getattr(self, f"representative_{level}")
        return vectors

    def family_size(self, level: int) -> int:
        """Return the number of siblings at a level: children per node of the coarser level, or all nodes of level 1."""
        return self.levels[level] // (self.levels[level - 1] if level else 1)

    def node_vectors(self, level: int) -> Tensor:
        """Compute the vectors of all nodes of a level, (K_l, d+1): the sums of the codes on their paths."""
        summed: Tensor = self.codes[0]
        for finer in range(1, level + 1):
            summed = summed.repeat_interleave(self.family_size(finer), 0) + self.codes[finer]
        return summed

    def project(self, vectors: Tensor) -> Tensor:
        """Apply the head to items (n, d+1), without gradient to the items: (n, d+1).

        The bias is copied as it is. That of a new item is zero, so its content alone decides where it is assigned.
        """
        fixed = vectors.detach()
        return torch.cat([self.head(fixed[:, :-1]), fixed[:, -1:]], 1)

    def assign_level(self, level: int, residual: Tensor, parents: Tensor | None) -> LevelPath:
        """Assign residuals (n, d+1) to nodes of `level`; `parents` (n,) are the items' nodes one level up."""
        mapped = residual @ self.metric
        if level == 0 or parents is None:
            # All items share the nodes of level 1, so one matrix product gives every distance: |a|^2 + |b|^2 - 2ab.
            # Rounding can make a small one negative, hence the clamp.
            codes = self.codes[0] @ self.metric
            products = torch.addmm(codes.square().sum(1), mapped, codes.T, alpha=-2)
            distances = (products + mapped.square().sum(1, keepdim=True)).clamp_min(0) * self.discount(0)  # (n, K_1)
            choice = nearest(distances)
            return LevelPath(residual, distances, choice, choice)
        count = self.family_size(level)
        codes = (self.codes[level] @ self.metric).view(-1, count, residual.shape[1])[parents]  # (n, F, d+1)
        distances = (mapped.unsqueeze(1) - codes).square().sum(2)
        distances = distances * self.discount(level).view(-1, count)[parents]  # (n, F)
        choice = nearest(distances)
        return LevelPath(residual, distances, choice, parents * count + choice)

    def assign_paths(self, projected: Tensor) -> list[LevelPath]:
        """Assign projected items (n, d+1) to the nearest node at every level, coarsest first."""
        paths: list[LevelPath] = []
        residual, parents = projected, None
        for level in range(len(self)):
            paths.append(self.assign_level(level, residual, parents))
            parents = paths[-1].nodes
            residual = residual - self.codes[level][parents]
        return paths

    def assign(self, vectors: Tensor) -> Tensor:
        """Return the leaves (n,) of items (n, d+1), as they are published and served."""
        return self.assign_projected(self.project(vectors))

    def assign_projected(self, projected: Tensor) -> Tensor:
        """Return the leaves (n,) of projected items (n, d+1), computed in chunks if there are many."""
        if len(projected) * self.levels[0] <= _MANY:
            return self.assign_paths(projected)[-1].nodes
        parts = torch.split(projected, max(_AT_ONCE // self.levels[0], 1))
        return torch.cat([self.assign_paths(part)[-1].nodes for part in parts])


def nearest(distances: Tensor) -> Tensor:
    """Return the index (n,) of the smallest of each row of distances (n, k); NumPy's is 12 times as fast as torch's."""
    return torch.from_numpy(distances.detach().numpy().argmin(1))


def parents_of(nodes: Tensor, siblings: int) -> Tensor:
    """Return the parents (n,) of `nodes` (n,); every node one level up has `siblings` children."""
    return torch.div(nodes, siblings, rounding_mode="floor")


def soft_assignment(distances: Tensor, sharpness: float) -> Tensor:
    """Compute the soft assignment (n, k) from squared distances (n, k); `sharpness` is relative to their mean."""
    return torch.softmax(-sharpness * distances / distances.mean().detach().clamp_min(1e-12), 1)


def straight_through(soft: Tensor) -> Tensor:
    """Return one-hot rows (n, k) of the largest entries of `soft`, whose gradients go to `soft` (straight-through)."""
    hard = torch.zeros_like(soft).scatter_(1, soft.argmax(1, keepdim=True), 1.0)
    return hard + soft - soft.detach()


def index_vectors(vectors: Tensor, dim: int) -> Tensor:
    """Select the columns of static vectors (n, W) that the index uses: the first `dim` and the bias, (n, d+1)."""
    return vectors if vectors.shape[1] == dim + 1 else torch.cat([vectors[:, :dim], vectors[:, -1:]], 1)
