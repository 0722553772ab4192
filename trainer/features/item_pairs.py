"""Pairs of items that one user engages with shortly after one another, and what such a pair weighs."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hsnn.trainer.features.item_counters import HOUR

COVISIT_HALF_LIVES = (1.0 * HOUR, 720.0 * HOUR)
"""Half-lives of co-visitation, ms: the same session, and the same month."""
LAST = 5
"""How many of a history's newest items make a pair with the next one."""
_BACKWARD = 0.5
_LEAST = 1 / 128
_HALF_LIVES = np.array(COVISIT_HALF_LIVES)


class Pairs(NamedTuple):
    """Directed pairs of items, forward ones first.

    Attributes
    ----------
    source, target : (n,) int64
        Item rows.
    ts : (n,) int64
        When the later of the two was engaged with, epoch ms.
    weights : (n, 2) float64
        At both half-lives, true at `ts`.
    """

    source: NDArray[np.int64]
    target: NDArray[np.int64]
    ts: NDArray[np.int64]
    weights: NDArray[np.float64]


def pairs_of(
    history_items: NDArray[np.integer],
    history_times: NDArray[np.int64],
    items: NDArray[np.integer],
    ts: NDArray[np.int64],
) -> Pairs:
    """Make both directions of every pair of one of the last five items of a history and the item that came next.

    A pair whose parts are `gap` ms and `p` places apart weighs ``2^(-gap/half-life) / p`` from the older to the newer
    one, and half of it backwards; at a half-life at which the former is less than 1/128 it weighs nothing.

    Parameters
    ----------
    history_items, history_times : (B, L)
        Newest last, -1 padded in front; epoch ms.
    items, ts : (B,)

    Examples
    --------
    >>> pairs = pairs_of(np.array([[5, 7]]), np.array([[0, 0]]), np.array([9]), np.array([3_600_000]))
    >>> pairs.source.tolist(), pairs.target.tolist(), pairs.weights[:, 0].tolist()
    ([5, 7, 9, 9], [9, 9, 5, 7], [0.25, 0.5, 0.125, 0.25])
    """
    recent = history_items[:, -LAST:]
    event, column = np.nonzero((recent >= 0) & (recent != items[:, None]))
    old, new, at = recent[event, column], items[event], ts[event]
    apart = recent.shape[1] - column  # 1 for the newest
    weights = decayed(np.maximum(at - history_times[:, -LAST:][event, column], 0)) / apart[:, None]  # (n, 2)
    weights[weights < _LEAST] = 0
    return Pairs(
        np.r_[old, new].astype(np.int64),
        np.r_[new, old].astype(np.int64),
        np.r_[at, at],
        np.r_[weights, _BACKWARD * weights],
    )


def decayed(elapsed: NDArray[np.int64]) -> NDArray[np.float64]:
    """Give what is left of a weight 1 after `elapsed` (n,) ms at both half-lives: (n, 2)."""
    left: NDArray[np.float64] = np.exp2(-elapsed[:, None] / _HALF_LIVES)
    return left
