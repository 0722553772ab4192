"""K-means for node vectors: seeding, refitting, splitting overfull nodes and reviving dead ones."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

# Rounds of Lloyd's algorithm after k-means++; the seeds are only a start that training or refits move on from.
_LLOYD_ROUNDS = 5
# Fraction of the family's mean usage below which a node counts as dead: it holds next to nothing.
_DEAD = 0.05
# Distances computed at once: 1 GiB of them, all those of a million items and 256 nodes.
_DISTANCES = 2**28


def seed_nodes(
    points: NDArray[np.float32], nodes: int, rng: np.random.Generator, metric: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Compute node vectors (nodes, d) by k-means over points (n, d); surplus nodes repeat points with a little noise.

    Distances are those of ``x @ metric``, a matrix (d, d).

    Examples
    --------
    >>> points = np.repeat(np.eye(3, dtype=np.float32), 5, axis=0)
    >>> sorted(seed_nodes(points, 3, np.random.default_rng(0), np.eye(3, dtype=np.float32)).argmax(1).tolist())
    [0, 1, 2]
    """
    seeds = lloyd(points, points[_spread(points @ metric, nodes, rng)], _LLOYD_ROUNDS, metric)
    # Noise tells apart nodes that were seeded with the same point.
    noise = 1e-3 * points.std() * rng.standard_normal(seeds.shape)
    noisy: NDArray[np.float32] = (seeds + noise).astype(np.float32)
    return noisy


def lloyd(
    points: NDArray[np.float32], seeds: NDArray[np.float32], rounds: int, metric: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Run rounds of Lloyd's algorithm over points (n, d) from `seeds` (k, d); an empty centre stays as it is."""
    mapped = points @ metric
    for _ in range(rounds):
        nearest = _nearest(mapped, seeds @ metric)
        sizes = np.bincount(nearest, minlength=len(seeds))
        sums = np.stack([np.bincount(nearest, column, len(seeds)) for column in points.T], 1)
        seeds = np.where(sizes[:, None] > 0, sums / np.maximum(sizes, 1)[:, None], seeds).astype(np.float32)
    return seeds


def split_overfull(
    points: NDArray[np.float32],
    centres: NDArray[np.float32],
    most: float,
    metric: NDArray[np.float32],
    least: float = 0.0,
    splits: int | None = None,
) -> NDArray[np.float32]:
    """Move the emptiest centres (k, d) to the fullest until none holds more than `most` times the mean of points.

    An overfull centre is replaced by the means of two equal halves of its points, cut along the coordinate of largest
    variance. At most `splits` centres, by default an eighth, are moved; points are assigned as in `lloyd`. A centre
    with less than `least` times the mean is moved even if none is above `most`.

    Examples
    --------
    >>> points = np.array([[0.0], [0.1], [0.2], [0.3], [9.0]], np.float32)
    >>> centres = np.r_[np.array([[0.15], [9.0]]), np.full((6, 1), 99.0)].astype(np.float32)
    >>> split_overfull(points, centres, 4.0, np.eye(1, dtype=np.float32))[:3, 0].round(2).tolist()
    [0.05000000074505806, 9.0, 0.25]
    """
    centres, mapped = centres.copy(), points @ metric
    nearest = _nearest(mapped, centres @ metric)
    sizes = np.bincount(nearest, minlength=len(centres))
    for _ in range(len(centres) // 8 if splits is None else splits):
        full, empty = int(sizes.argmax()), int(sizes.argmin())
        starved = sizes[empty] < least * len(points) / len(centres) and sizes[full] > 2 * sizes[empty]
        if sizes[full] < 2 or (sizes[full] <= most * len(points) / len(centres) and not starved):
            break
        nearest[nearest == empty] = -1  # few points; the next assignment finds their nearest centre
        members = np.flatnonzero(nearest == full)
        widest = int(mapped[members].var(0).argmax())
        ordered = members[np.argsort(mapped[members, widest], kind="stable")]
        kept, moved = np.array_split(ordered, 2)
        centres[full], centres[empty] = points[kept].mean(0), points[moved].mean(0)
        nearest[moved] = empty
        sizes[full], sizes[empty] = len(kept), len(moved)
    return centres


def revive_nodes(
    nodes: NDArray[np.float32],
    usage: NDArray[np.float32],
    points: NDArray[np.float32],
    nearest: NDArray[np.integer],
    rng: np.random.Generator,
    siblings: int,
) -> int:
    """Move dead nodes onto items of the fullest ones of their family, in place; return how many were moved.

    Parameters
    ----------
    nodes : (K, d)
    usage : (K,)
        Running share of the items in each node; a moved node starts with its family's mean share.
    points : (n, d)
        Items; `nearest` (n,) are their nodes.
    siblings
        Nodes per family.
    """
    moved = 0
    shares = usage.reshape(-1, siblings)
    for family in np.flatnonzero((shares < _DEAD * shares.mean(1, keepdims=True)).any(1)).tolist():
        part = slice(family * siblings, (family + 1) * siblings)
        fair = usage[part].mean()
        dead = family * siblings + np.flatnonzero(usage[part] < _DEAD * fair)
        members = np.flatnonzero(nearest // siblings == family)
        weight = usage[nearest[members]]
        if len(dead) and weight.sum() > 0 and len(members) > 1:
            chosen = rng.choice(members, len(dead), p=weight / weight.sum())
            nodes[dead] = points[chosen] + 1e-3 * points.std() * rng.standard_normal((len(dead), nodes.shape[1]))
            usage[dead] = fair
            moved += len(dead)
    return moved


def _spread(points: NDArray[np.float32], count: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Draw `count` points by k-means++: each in proportion to its squared distance to the nearest one drawn before."""
    chosen = [int(rng.integers(len(points)))]
    distance = np.square(points - points[chosen[0]]).sum(1).astype(np.float64)
    for _ in range(count - 1):
        total = distance.sum()
        drawn = int(rng.choice(len(points), p=distance / total)) if total > 0 else int(rng.integers(len(points)))
        chosen.append(drawn)
        distance = np.minimum(distance, np.square(points - points[drawn]).sum(1))
    return np.array(chosen)


def _nearest(points: NDArray[np.float32], seeds: NDArray[np.float32]) -> NDArray[np.int64]:
    if len(points) * len(seeds) > _DISTANCES and len(points) > 1:
        return np.concatenate([_nearest(half, seeds) for half in np.array_split(points, 2)])
    # The points' own squares are left out: they are the same for every seed.
    nearest: NDArray[np.int64] = (np.square(seeds).sum(1) - 2 * points @ seeds.T).argmin(1)
    return nearest
