"""What is done to a hierarchy between gradient steps: start, refit, revival, snapping, representatives.

All of it looks at projected items (n, d+1) and changes the codes in place. Revival keeps nodes alive (HSNN and OneShot
speak of collapse without it); snapping is HILL's (arXiv 2604.12965): ``c_k <- v_(argmin_j ||v_j - c_k||^2)``;
representative items are HSNN's features of a node (arXiv 2408.06653 §3).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trainer.index.hierarchy import Hierarchy, LevelPath
from trainer.index.seeding import lloyd, revive, seed_nodes
from trainer.index.stabilisers import Usage

_REFIT_ROUNDS = 3

Points = NDArray[np.float32]
Fit = Callable[[Points, Points], Points]
"""Members of a family (n, d+1) and its codes (F, d+1) to new codes (F, d+1)."""


@torch.no_grad()
def start(hierarchy: Hierarchy, points: Tensor, rng: np.random.Generator) -> None:
    """Take the codes of all levels from items (n, d+1): k-means over all, then over the residuals of every family."""
    metric = hierarchy.metric.numpy()
    _walk(hierarchy, points, lambda members, codes: seed_nodes(members, len(codes), rng, metric))


@torch.no_grad()
def refit(hierarchy: Hierarchy, points: Tensor) -> None:
    """Go on with k-means from the codes there are, over items (n, d+1)."""
    metric = hierarchy.metric.numpy()
    _walk(hierarchy, points, lambda members, codes: lloyd(members, codes, _REFIT_ROUNDS, metric))


@torch.no_grad()
def revive_dead(hierarchy: Hierarchy, usage: Usage, points: Tensor, rng: np.random.Generator) -> int:
    """Move nodes that hold next to nothing onto items (n, d+1) of the fullest in their family; return how many."""
    moved = 0
    for level, path in enumerate(hierarchy.paths(points)):
        codes, shares = hierarchy.codes[level].data.numpy(), usage.shares[level]
        moved += revive(codes, shares, path.residual.numpy(), path.nodes.numpy(), rng, hierarchy.siblings(level))
    return moved


@torch.no_grad()
def snap(hierarchy: Hierarchy, points: Tensor) -> None:
    """Make every node that holds any of the items (n, d+1), or comes to hold some by this, the nearest of them."""
    residual, parents = points, None
    for level in range(len(hierarchy)):
        codes, snapped = hierarchy.codes[level].data, np.zeros(hierarchy.levels[level], np.bool_)
        while True:
            path = hierarchy.step(level, residual, parents)
            nodes, nearest = nearest_in(path)
            new = ~snapped[nodes]
            if not new.any():
                break
            codes[nodes[new]] = residual[nearest[new]]
            snapped[nodes] = True
        residual, parents = residual - codes[path.nodes], path.nodes


@torch.no_grad()
def represent(hierarchy: Hierarchy, points: Tensor, vectors: Tensor) -> None:
    """Renew the representatives of nodes that hold any of the items, (n, d+1) projected, with vectors (n, d)."""
    for level, path in enumerate(hierarchy.paths(points)):
        nodes, nearest = nearest_in(path)
        hierarchy.representative(level)[nodes] = vectors[nearest]


def nearest_in(path: LevelPath) -> tuple[NDArray[np.integer], NDArray[np.int64]]:
    """Nodes (k,) of a level that hold anything, and for each the nearest of its items (k,)."""
    distances = path.distances.gather(1, path.choice.unsqueeze(1)).squeeze(1)
    return nearest_items(path.nodes.numpy(), distances.numpy())


def nearest_items(
    nodes: NDArray[np.integer], distances: NDArray[np.float32]
) -> tuple[NDArray[np.integer], NDArray[np.int64]]:
    """Nodes (k,) that occur among `nodes` (n,), and for each the item (k,) with the smallest of `distances` (n,).

    Examples
    --------
    >>> nodes, nearest = nearest_items(np.array([3, 0, 3]), np.array([2.0, 9.0, 1.0], np.float32))
    >>> nodes.tolist(), nearest.tolist()
    ([0, 3], [1, 2])
    """
    order = np.lexsort((distances, nodes))
    first = order[np.flatnonzero(np.r_[True, np.diff(nodes[order]) > 0])]
    return nodes[first], first


def _walk(hierarchy: Hierarchy, points: Tensor, fit: Fit) -> None:
    """Fit the codes of every family that holds items, level by level."""
    residual, parents = points, None
    for level in range(len(hierarchy)):
        count = hierarchy.siblings(level)
        codes = hierarchy.codes[level].data.view(-1, count, points.shape[1])
        for family, members in _families(parents):
            codes[family] = torch.from_numpy(fit(residual[members].numpy(), codes[family].numpy()))
        path = hierarchy.step(level, residual, parents)
        residual, parents = residual - hierarchy.codes[level][path.nodes], path.nodes


def _families(parents: Tensor | None) -> list[tuple[int, NDArray[np.int64] | slice]]:
    """Families and their members among the items, whose nodes one level up are `parents` (n,)."""
    if parents is None:
        return [(0, slice(None))]
    nodes = parents.numpy()
    order = np.argsort(nodes, kind="stable")
    starts = np.flatnonzero(np.r_[True, np.diff(nodes[order]) > 0])
    return [(int(nodes[part[0]]), part) for part in np.split(order, starts[1:])]
