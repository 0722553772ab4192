"""Where node vectors come from at first, and where dead ones go: to the items, always."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_LLOYD_ROUNDS = 5
_DEAD = 0.05


def seed_nodes(points: NDArray[np.float32], nodes: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """Node vectors (nodes, d) by k-means over points (n, d); surplus nodes repeat points with a little noise.

    Examples
    --------
    >>> points = np.repeat(np.eye(3, dtype=np.float32), 5, axis=0)
    >>> sorted(seed_nodes(points, 3, np.random.default_rng(0)).argmax(1).tolist())
    [0, 1, 2]
    """
    seeds = points[_spread(points, nodes, rng)]
    for _ in range(_LLOYD_ROUNDS):
        nearest = _nearest(points, seeds)
        sizes = np.bincount(nearest, minlength=nodes)
        sums = np.zeros_like(seeds)
        np.add.at(sums, nearest, points)
        seeds = np.where(sizes[:, None] > 0, sums / np.maximum(sizes, 1)[:, None], seeds)
    noise = 1e-3 * points.std() * rng.standard_normal(seeds.shape)
    noisy: NDArray[np.float32] = (seeds + noise).astype(np.float32)
    return noisy


def revive(
    nodes: NDArray[np.float32],
    usage: NDArray[np.float32],
    points: NDArray[np.float32],
    nearest: NDArray[np.integer],
    rng: np.random.Generator,
) -> NDArray[np.int64]:
    """Move dead nodes onto items of the fullest ones, in place.

    Parameters
    ----------
    nodes : (K, d)
    usage : (K,)
        Running share of the items in each node; a moved node starts with the mean share.
    points : (n, d)
        Projected items; `nearest` (n,) are their nodes.

    Returns
    -------
    (dead,) int64
        The nodes that were moved.
    """
    dead = np.flatnonzero(usage < _DEAD / len(nodes))
    weight = usage[nearest]
    if len(dead) and weight.sum() > 0:
        chosen = rng.choice(len(points), len(dead), p=weight / weight.sum())
        nodes[dead] = points[chosen] + 1e-3 * points.std() * rng.standard_normal((len(dead), nodes.shape[1]))
        usage[dead] = 1 / len(nodes)
    return dead


def _spread(points: NDArray[np.float32], count: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """k-means++: each next point is drawn in proportion to its squared distance to the nearest one drawn."""
    chosen = [int(rng.integers(len(points)))]
    distance = np.square(points - points[chosen[0]]).sum(1).astype(np.float64)
    for _ in range(count - 1):
        total = distance.sum()
        drawn = int(rng.choice(len(points), p=distance / total)) if total > 0 else int(rng.integers(len(points)))
        chosen.append(drawn)
        distance = np.minimum(distance, np.square(points - points[drawn]).sum(1))
    return np.array(chosen)


def _nearest(points: NDArray[np.float32], seeds: NDArray[np.float32]) -> NDArray[np.int64]:
    nearest: NDArray[np.int64] = (np.square(seeds).sum(1) - 2 * points @ seeds.T).argmin(1)
    return nearest
