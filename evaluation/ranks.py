"""Ranks of what was engaged with next, and what follows from them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

MISS = np.inf
"""Rank of a target that a method cannot return."""


def rank(scores: NDArray[np.floating], target: int) -> float:
    """Count the items before `target` in the order of `scores` (n,), ties at half; `MISS` if its score is -inf.

    Examples
    --------
    >>> rank(np.array([3.0, 1.0, 3.0]), 0), rank(np.array([3.0, 1.0, 3.0]), 1)
    (0.5, 2.0)
    """
    own = scores[target]
    if not np.isfinite(own):
        return MISS
    return float((scores > own).sum() + ((scores == own).sum() - 1) / 2)


def recall(ranks: NDArray[np.float64], cut: int) -> float:
    """Share of ranks (n,) that are before `cut`."""
    return float((ranks < cut).mean()) if len(ranks) else float("nan")


def paired(ours: NDArray[np.float64], theirs: NDArray[np.float64], cut: int) -> tuple[float, float]:
    """Difference of two recalls on the same queries, and its standard error."""
    difference = (ours < cut).astype(np.float64) - (theirs < cut)
    if len(difference) < 2:
        return float("nan"), float("nan")
    return float(difference.mean()), float(difference.std(ddof=1) / np.sqrt(len(difference)))
