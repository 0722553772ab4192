"""Maintenance of the hierarchy between gradient steps: seed, refit, revive, snap and representative items.

Each kind takes projected items (n, d+1) and changes the codes in place. Revival moves dead nodes back to items (HSNN
and OneShot report collapse without it); snapping is HILL's (arXiv 2604.12965): ``c_k <- v_(argmin_j ||v_j - c_k||^2)``;
representative items are HSNN's features of a node (arXiv 2408.06653 §3).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import StrEnum

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hsnn.streaming.schema.commands import Rebalance
from hsnn.trainer.index.hierarchy import Hierarchy, LevelPath
from hsnn.trainer.index.kmeans import lloyd, revive_nodes, seed_nodes, split_overfull
from hsnn.trainer.index.regularizers import NodeUsage

# Rounds of Lloyd's algorithm per refit; fewer than for the seeds, as a refit starts from the current codes.
_REFIT_ROUNDS = 3
# Multiple of the family's mean number of items above which a node is split, the family's emptiest giving up its place.
_OVERFULL = 3.0

Points = NDArray[np.float32]
Fit = Callable[[Points, Points], Points]
"""Function from the members of a family (n, d+1) and its codes (F, d+1) to new codes (F, d+1)."""


class MaintenanceKind(StrEnum):
    """Kinds of maintenance, in the order in which those that are due together are done."""

    SEED = "seed"
    """Take the codes from items, once."""
    REFIT = "refit"
    """Continue k-means from the current codes."""
    SNAP = "snap"
    """Move nodes onto their nearest items."""
    REVIVE = "revive"
    """Move dead nodes onto items of the fullest ones."""
    REPRESENT = "represent"
    """Renew the representative items."""


def refit_interval(events: int, items: int) -> int:
    """Return the events between two refits: `events`, doubled until there are at most four items per event.

    Examples
    --------
    >>> refit_interval(5000, 20_000), refit_interval(5000, 1_000_000)
    (5000, 320000)
    """
    while 4 * events < items:
        events *= 2
    return events


@torch.no_grad()
def seed(hierarchy: Hierarchy, points: Tensor, rng: np.random.Generator) -> None:
    """Seed the codes of all levels by k-means over items (n, d+1), then over the residuals of every family."""
    metric = hierarchy.metric.numpy()
    _fit_families(hierarchy, points, lambda members, codes: seed_nodes(members, len(codes), rng, metric))


@torch.no_grad()
def refit(hierarchy: Hierarchy, points: Tensor, *, even: bool) -> None:
    """Continue k-means from the current codes over items (n, d+1); if `even`, split overfull nodes."""
    metric = hierarchy.metric.numpy()

    def fit(members: Points, codes: Points) -> Points:
        codes = lloyd(members, codes, _REFIT_ROUNDS, metric)
        return split_overfull(members, codes, _OVERFULL, metric) if even else codes

    _fit_families(hierarchy, points, fit)


@torch.no_grad()
def revive_dead(hierarchy: Hierarchy, usage: NodeUsage, points: Tensor, rng: np.random.Generator) -> int:
    """Move dead nodes onto items (n, d+1) of the fullest nodes in their family; return how many were moved."""
    moved = 0
    for level, path in enumerate(hierarchy.assign_paths(points)):
        codes, shares = hierarchy.codes[level].data.numpy(), usage.shares[level]
        moved += revive_nodes(
            nodes=codes,
            usage=shares,
            points=path.residual.numpy(),
            nearest=path.nodes.numpy(),
            rng=rng,
            siblings=hierarchy.family_size(level),
        )
    return moved


@torch.no_grad()
def rebalance(hierarchy: Hierarchy, usage: NodeUsage, points: Tensor, command: Rebalance) -> int:
    """Split and merge nodes in the families of a command's leaves, over items (n, d+1); return how many were split.

    Whether a node is overfull or starved is decided by these items, whatever the command's sender measured. A node that
    is moved to an overfull one starts with its family's mean usage, so that it does not count as dead.
    """
    metric, before = hierarchy.metric.numpy(), [codes.detach().clone() for codes in hierarchy.codes]
    named = np.array([leaf for leaf in (*command.split, *command.merge) if leaf < hierarchy.levels[-1]], np.int64)
    families = [
        named // (hierarchy.levels[-1] * hierarchy.family_size(level) // count)
        for level, count in enumerate(hierarchy.levels)
    ]

    def fit(members: Points, codes: Points) -> Points:
        return split_overfull(
            members, codes, command.over, metric, least=command.under, splits=min(len(named), len(codes) // 2)
        )

    _fit_families(hierarchy, points, fit, dict(enumerate(map(set, (family.tolist() for family in families)))))
    split = 0
    for level, codes in enumerate(hierarchy.codes):
        other = (codes.detach() != before[level]).any(1).numpy()  # (K_l,)
        shares = usage.shares[level].reshape(-1, hierarchy.family_size(level))
        fair = np.repeat(shares.mean(1), hierarchy.family_size(level))
        usage.shares[level] = np.where(other, fair, usage.shares[level]).astype(np.float32)
        split += int(other.sum()) // 2
    return split


@torch.no_grad()
def snap(hierarchy: Hierarchy, points: Tensor) -> None:
    """Set the code of every node that holds any of the items (n, d+1) to its nearest item."""
    residual, parents = points, None
    for level in range(len(hierarchy)):
        codes, snapped = hierarchy.codes[level].data, np.zeros(hierarchy.levels[level], np.bool_)
        # Snapped codes change the assignment: repeat until no node that has not been snapped holds an item.
        while True:
            path = hierarchy.assign_level(level, residual, parents)
            nodes, nearest = nearest_item_per_node(path)
            new = ~snapped[nodes]
            if not new.any():
                break
            codes[nodes[new]] = residual[nearest[new]]
            snapped[nodes] = True
        residual, parents = residual - codes[path.nodes], path.nodes


@torch.no_grad()
def update_representatives(hierarchy: Hierarchy, points: Tensor, vectors: Tensor) -> None:
    """Renew the representatives of nodes that hold any of the items: `points` (n, d+1) projected, `vectors` (n, d)."""
    for level, path in enumerate(hierarchy.assign_paths(points)):
        nodes, nearest = nearest_item_per_node(path)
        hierarchy.representative(level)[nodes] = vectors[nearest]


def nearest_item_per_node(path: LevelPath) -> tuple[NDArray[np.integer], NDArray[np.int64]]:
    """Return the nodes (k,) of a level that hold any item, and the nearest item of each (k,)."""
    distances = path.distances.gather(1, path.choice.unsqueeze(1)).squeeze(1)
    return nearest_items(path.nodes.numpy(), distances.numpy())


def nearest_items(
    nodes: NDArray[np.integer], distances: NDArray[np.float32]
) -> tuple[NDArray[np.integer], NDArray[np.int64]]:
    """Return the distinct `nodes` (n,) as (k,), and for each the item (k,) with the smallest of `distances` (n,).

    Examples
    --------
    >>> nodes, nearest = nearest_items(np.array([3, 0, 3]), np.array([2.0, 9.0, 1.0], np.float32))
    >>> nodes.tolist(), nearest.tolist()
    ([0, 3], [1, 2])
    """
    order = np.argsort(nodes, kind="stable")
    starts = np.flatnonzero(np.r_[True, np.diff(nodes[order]) > 0])
    ordered = distances[order]
    least = np.repeat(np.fmin.reduceat(ordered, starts), np.diff(np.r_[starts, len(order)]))
    nearest = np.flatnonzero((ordered == least) | np.isnan(least))
    first = order[nearest[np.searchsorted(nearest, starts)]]  # of equally near ones the first
    return nodes[first], first


def _fit_families(hierarchy: Hierarchy, points: Tensor, fit: Fit, only: Mapping[int, set[int]] | None = None) -> None:
    """Fit the codes of every family that holds items, level by level; with `only`, of these families per level."""
    residual, parents = points, None
    for level in range(len(hierarchy)):
        count = hierarchy.family_size(level)
        codes = hierarchy.codes[level].data.view(-1, count, points.shape[1])
        for family, members in _families(parents):
            if only is not None and family not in only[level]:
                continue
            codes[family] = torch.from_numpy(fit(residual[members].numpy(), codes[family].numpy()))
        if level + 1 < len(hierarchy):  # the families of the last level have no children
            path = hierarchy.assign_level(level, residual, parents)
            residual, parents = residual - hierarchy.codes[level][path.nodes], path.nodes


def _families(parents: Tensor | None) -> list[tuple[int, NDArray[np.int64] | slice]]:
    """Group the items by family: their nodes one level up are `parents` (n,)."""
    if parents is None:
        return [(0, slice(None))]
    nodes = parents.numpy()
    order = np.argsort(nodes, kind="stable")
    starts = np.flatnonzero(np.r_[True, np.diff(nodes[order]) > 0])
    return [(int(nodes[part[0]]), part) for part in np.split(order, starts[1:])]
