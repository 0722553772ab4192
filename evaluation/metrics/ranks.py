"""Ranks of what was engaged with next, and what follows from them."""

from __future__ import annotations

from collections.abc import Sequence

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


def ranks_of(scores: NDArray[np.floating], places: NDArray[np.int64]) -> NDArray[np.float64]:
    """`rank` of the item ``places[b]`` in row ``b`` of `scores` (B, N), for all rows at once, (B,); place -1 is a miss.

    Examples
    --------
    >>> ranks_of(np.array([[3.0, 1.0, 3.0], [3.0, 1.0, 3.0], [3.0, 1.0, 3.0]]), np.array([0, 1, -1])).tolist()
    [0.5, 2.0, inf]
    """
    own = _own(scores, places)[:, None]  # (B, 1)
    ranks = (scores > own).sum(1) + ((scores == own).sum(1) - 1) / 2  # (B,)
    return np.where(np.isfinite(own[:, 0]), ranks, MISS)


def ranks_within(
    order: NDArray[np.int64], scores: NDArray[np.floating], places: NDArray[np.int64], budgets: Sequence[int]
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Ranks of targets among what is scored at several budgets, if items are taken in a given order.

    Parameters
    ----------
    order : (B, M) or (M,)
        Places of the items, first come first scored; -1 pads. (M,) is one order for all queries.
    scores : (B, N)
        Of all items; one at -inf is passed over and costs nothing.
    places : (B,)
        Of the targets, -1 for one that is not there.
    budgets
        Items scored at most.

    Returns
    -------
    ranks : (B, len(budgets))
        0 = first, ties at half; `MISS` if the target is not scored.
    scored : (B, len(budgets))
        How many items are.
    """
    if order.ndim == 1:
        found, is_target = scores[:, order], order == places[:, None]
    else:
        found = np.where(order >= 0, np.take_along_axis(scores, np.maximum(order, 0), 1), -np.inf)  # (B, M)
        is_target = (order == places[:, None]) & (order >= 0)
    own = _own(scores, places)[:, None]
    number = _counted(np.isfinite(found).view(np.int8))  # (B, M + 1): how many were scored up to there
    halves = _counted((found > own).view(np.int8) + (found >= own).view(np.int8))  # 2 for each before, 1 for a tie
    at = np.where(is_target.any(1), is_target.argmax(1), order.shape[-1])  # (B,): M if it is nowhere
    at[~np.isfinite(own[:, 0])] = order.shape[-1]
    ranks = np.full((len(scores), len(budgets)), MISS)
    scored = np.zeros((len(scores), len(budgets)), np.int64)
    rows = np.arange(len(scores))
    for column, budget in enumerate(budgets):
        stop = np.count_nonzero(number <= budget, axis=1) - 1  # (B,): where the budget is used up
        hit = at < stop
        ranks[hit, column] = (halves[rows, stop][hit] - 1) / 2
        scored[:, column] = number[rows, stop]
    return ranks, scored


def top(scores: NDArray[np.floating], count: int) -> NDArray[np.int64]:
    """Places of the `count` largest of each row of `scores` (B, N) in any order, (B, <= count); -1 for one at -inf."""
    width = scores.shape[1]
    places = (
        np.argpartition(scores, width - count, axis=1)[:, width - count :]
        if width > count
        else np.broadcast_to(np.arange(width), scores.shape)
    )
    return np.where(np.isfinite(np.take_along_axis(scores, places, 1)), places, -1)


def recall(ranks: NDArray[np.floating], cut: int) -> float:
    """Share of ranks (n,) that are before `cut`; NaN of none."""
    return float((ranks < cut).mean()) if len(ranks) else float("nan")


def ndcg(ranks: NDArray[np.floating], cut: int) -> float:
    """Mean of 1 / log2(rank + 2) over ranks (n,), 0 from `cut` on: NDCG with one relevant item per query.

    Examples
    --------
    >>> ndcg(np.array([0.0, 2.0, 30.0, np.inf]), 20)
    0.375
    """
    return float(np.where(ranks < cut, 1 / np.log2(ranks + 2), 0.0).mean()) if len(ranks) else float("nan")


def mrr(ranks: NDArray[np.floating]) -> float:
    """Mean of 1 / (rank + 1) over ranks (n,); a miss is 0."""
    return float((1 / (ranks + 1)).mean()) if len(ranks) else float("nan")


def paired(ours: NDArray[np.floating], theirs: NDArray[np.floating], cut: int) -> tuple[float, float]:
    """Difference of two recalls on the same queries, and its standard error."""
    difference = (ours < cut).astype(np.float64) - (theirs < cut)
    if len(difference) < 2:
        return float("nan"), float("nan")
    return float(difference.mean()), float(difference.std(ddof=1) / np.sqrt(len(difference)))


def _counted(values: NDArray[np.int8]) -> NDArray[np.int32]:
    """Sum the first m, for every m from 0: (B, M) to (B, M + 1)."""
    sums = np.zeros((len(values), values.shape[1] + 1), np.int32)
    np.cumsum(values, 1, np.int32, out=sums[:, 1:])
    return sums


def _own(scores: NDArray[np.floating], places: NDArray[np.int64]) -> NDArray[np.floating]:
    """Scores of the targets (B,), -inf where there is none."""
    if scores.shape[1] == 0:
        return np.full(len(scores), -np.inf)
    own = np.take_along_axis(scores, np.maximum(places, 0)[:, None], 1)[:, 0]
    return np.where(places >= 0, own, -np.inf)
