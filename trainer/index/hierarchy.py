"""The learned levels: node vectors, and the path of an item down to its leaf.

HSNN (arXiv 2408.06653) §4, residual levels as in residual quantisation: level 1 has nodes of its own; a node of a finer
level is a (path, child) pair whose code is added to the vector of its parent. With ``p`` the projected item,

    r_1 = p,   m_l = argmin over the children k of m_(l-1) of ||r_l - c_k||^2
    r_(l+1) = r_l - c_(m_l),   q = sum_l c_(m_l)

Paths keep a level of many nodes cheap: an item is compared with the children of its parent only.

An item enters as its first static vector and its bias, d+1 numbers; distances are measured after a linear map, the
**metric**, which is blind to the bias unless a learner says otherwise (`hsnn.trainer.index.learners.em`).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from hsnn.trainer.config.model import ModelConfig

_AT_ONCE, _MANY = 1 << 20, 1 << 23
"""Distances that stay in the processor's cache; so many that going in parts is three times as fast."""


class LevelPath(NamedTuple):
    """One level of the paths of n items; k is the number of nodes they choose from: all of level 1, or siblings.

    Attributes
    ----------
    residual : (n, d+1)
        What the coarser levels leave of the projected item.
    distances : (n, k)
        Squared, discounted.
    choice : (n,) int64
        The nearest, among the k.
    nodes : (n,) int64
        The nearest, among all nodes of the level.
    """

    residual: Tensor
    distances: Tensor
    choice: Tensor
    nodes: Tensor


class Hierarchy(nn.Module):
    """Codes of all levels, and the head that item vectors pass on their way to them.

    Attributes
    ----------
    levels : L integers
        Nodes of every level, K_l.
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
        """Factors on the distances to the nodes of a level, (K_l,); 1 but for Streaming VQ's assignment discount."""
        factors: Tensor = getattr(self, f"discount_{level}")
        return factors

    def representative(self, level: int) -> Tensor:
        """Vectors of the items nearest to the nodes, static ones, (K_l, d); zero before there is one."""
        vectors: Tensor = getattr(self, f"representative_{level}")
        return vectors

    def family_size(self, level: int) -> int:
        """How many nodes of a level an item chooses from once its coarser path is known."""
        return self.levels[level] // (self.levels[level - 1] if level else 1)

    def node_vectors(self, level: int) -> Tensor:
        """Vectors of all nodes of a level, (K_l, d+1): the sum of the codes on their paths."""
        summed: Tensor = self.codes[0]
        for finer in range(1, level + 1):
            summed = summed.repeat_interleave(self.family_size(finer), 0) + self.codes[finer]
        return summed

    def project(self, vectors: Tensor) -> Tensor:
        """Items (n, d+1) in the index's own space (n, d+1); no gradient reaches the items.

        The bias passes as it is: an item that nobody knows yet has none, and belongs where its content says.
        """
        fixed = vectors.detach()
        return torch.cat([self.head(fixed[:, :-1]), fixed[:, -1:]], 1)

    def assign_level(self, level: int, residual: Tensor, parents: Tensor | None) -> LevelPath:
        """Choose a node of `level` for residuals (n, d+1) of items whose nodes one level up are `parents` (n,)."""
        mapped = residual @ self.metric
        if level == 0 or parents is None:
            codes = self.codes[0] @ self.metric
            squares = mapped.square().sum(1, keepdim=True) + codes.square().sum(1)
            distances = (squares - 2 * mapped @ codes.T).clamp_min(0) * self.discount(0)  # (n, K_1)
            choice = distances.argmin(1)
            return LevelPath(residual, distances, choice, choice)
        count = self.family_size(level)
        codes = (self.codes[level] @ self.metric).view(-1, count, residual.shape[1])[parents]  # (n, F, d+1)
        distances = (mapped.unsqueeze(1) - codes).square().sum(2)
        distances = distances * self.discount(level).view(-1, count)[parents]  # (n, F)
        choice = distances.argmin(1)
        return LevelPath(residual, distances, choice, parents * count + choice)

    def assign_paths(self, projected: Tensor) -> list[LevelPath]:
        """Follow items (n, d+1) down all levels by hard assignment."""
        found: list[LevelPath] = []
        residual, parents = projected, None
        for level in range(len(self)):
            found.append(self.assign_level(level, residual, parents))
            parents = found[-1].nodes
            residual = residual - self.codes[level][parents]
        return found

    def assign(self, vectors: Tensor) -> Tensor:
        """Leaves (n,) of items (n, d+1): what is published and served."""
        return self.assign_projected(self.project(vectors))

    def assign_projected(self, projected: Tensor) -> Tensor:
        """Leaves (n,) of items (n, d+1) in the index's own space; of many, part by part."""
        if len(projected) * self.levels[0] <= _MANY:
            return self.assign_paths(projected)[-1].nodes
        parts = torch.split(projected, max(_AT_ONCE // self.levels[0], 1))
        return torch.cat([self.assign_paths(part)[-1].nodes for part in parts])


def parents_of(nodes: Tensor, siblings: int) -> Tensor:
    """Nodes one level up of `nodes` (n,), `siblings` being the number of children per node."""
    return torch.div(nodes, siblings, rounding_mode="floor")


def soft_assignment(distances: Tensor, sharpness: float) -> Tensor:
    """Soft assignment (n, k) from squared distances (n, k), `sharpness` being relative to their mean."""
    return torch.softmax(-sharpness * distances / distances.mean().detach().clamp_min(1e-12), 1)


def straight_through(soft: Tensor) -> Tensor:
    """One-hot rows of the largest entries (n, k) that pass gradients on to `soft`."""
    hard = torch.zeros_like(soft).scatter_(1, soft.argmax(1, keepdim=True), 1.0)
    return hard + soft - soft.detach()


def index_vectors(vectors: Tensor, dim: int) -> Tensor:
    """Take what the index sees of static vectors (n, W): the first `dim` numbers and the bias, (n, d+1)."""
    return vectors if vectors.shape[1] == dim + 1 else torch.cat([vectors[:, :dim], vectors[:, -1:]], 1)
