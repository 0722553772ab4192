"""Ranks of targets in scored lists of items, and the metrics computed from ranks: recall, NDCG, MRR."""

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
    score = scores[target]
    if not np.isfinite(score):
        return MISS
    return float((scores > score).sum() + ((scores == score).sum() - 1) / 2)


def ranks_of(scores: NDArray[np.floating], targets: NDArray[np.int64]) -> NDArray[np.float64]:
    """`rank` of the item ``targets[b]`` in row ``b`` of `scores` (B, N), for all rows at once, (B,); -1 is a miss.

    Examples
    --------
    >>> ranks_of(np.array([[3.0, 1.0, 3.0], [3.0, 1.0, 3.0], [3.0, 1.0, 3.0]]), np.array([0, 1, -1])).tolist()
    [0.5, 2.0, inf]
    """
    target = _target_scores(scores, targets)[:, None]  # (B, 1)
    ranks = (scores > target).sum(1) + ((scores == target).sum(1) - 1) / 2  # (B,)
    return np.where(np.isfinite(target[:, 0]), ranks, MISS)


def ranks_within(
    order: NDArray[np.int64], scores: NDArray[np.floating], targets: NDArray[np.int64], budgets: Sequence[int]
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Ranks of targets among the items scored at several budgets, if items are scored in a given order.

    Parameters
    ----------
    order : (B, M) or (M,)
        Positions of the items, the first is scored first; -1 pads. (M,) is one order for all queries.
    scores : (B, N)
        Of all items; one at -inf is skipped and uses no budget.
    targets : (B,)
        Positions of the targets, -1 for one that cannot be returned.
    budgets
        Maximum numbers of items scored.

    Returns
    -------
    ranks : (B, len(budgets))
        0 = first, ties at half; `MISS` if the target is not scored.
    scored : (B, len(budgets))
        Number of items scored.
    """
    if order.ndim == 1:
        candidates, is_target = scores[:, order], order == targets[:, None]
    else:
        candidates = np.where(order >= 0, np.take_along_axis(scores, np.maximum(order, 0), 1), -np.inf)  # (B, M)
        is_target = (order == targets[:, None]) & (order >= 0)
    target = _target_scores(scores, targets)[:, None]
    scored_before = _prefix_sums(np.isfinite(candidates).view(np.int8))  # (B, M + 1)
    # Twice the rank, in whole numbers: 2 for each better candidate, 1 for a tie; the target itself is a tie.
    doubled = _prefix_sums((candidates > target).view(np.int8) + (candidates >= target).view(np.int8))
    target_index = np.where(is_target.any(1), is_target.argmax(1), order.shape[-1])  # (B,): M if it is not in the order
    target_index[~np.isfinite(target[:, 0])] = order.shape[-1]
    ranks = np.full((len(scores), len(budgets)), MISS)
    scored = np.zeros((len(scores), len(budgets)), np.int64)
    rows = np.arange(len(scores))
    for column, budget in enumerate(budgets):
        stop = np.count_nonzero(scored_before <= budget, axis=1) - 1  # (B,): where the budget is used up
        hit = target_index < stop
        ranks[hit, column] = (doubled[rows, stop][hit] - 1) / 2
        scored[:, column] = scored_before[rows, stop]
    return ranks, scored


def top_k(scores: NDArray[np.floating], count: int) -> NDArray[np.int64]:
    """Positions of the `count` largest of each row of `scores` (B, N), in any order: (B, <= count); -1 for -inf."""
    width = scores.shape[1]
    positions = (
        np.argpartition(scores, width - count, axis=1)[:, width - count :]
        if width > count
        else np.broadcast_to(np.arange(width), scores.shape)
    )
    return np.where(np.isfinite(np.take_along_axis(scores, positions, 1)), positions, -1)


def recall(ranks: NDArray[np.floating], cut: int) -> float:
    """Recall at a cut: the share of ranks (n,) below it; NaN without ranks."""
    return float((ranks < cut).mean()) if len(ranks) else float("nan")


def ndcg(ranks: NDArray[np.floating], cut: int) -> float:
    """NDCG with one relevant item per query: mean of 1 / log2(rank + 2) over ranks (n,), 0 from `cut` on.

    Examples
    --------
    >>> ndcg(np.array([0.0, 2.0, 30.0, np.inf]), 20)
    0.375
    """
    return float(np.where(ranks < cut, 1 / np.log2(ranks + 2), 0.0).mean()) if len(ranks) else float("nan")


def mrr(ranks: NDArray[np.floating]) -> float:
    """Mean reciprocal rank: mean of 1 / (rank + 1) over ranks (n,); a miss counts 0."""
    return float((1 / (ranks + 1)).mean()) if len(ranks) else float("nan")


def paired_recall_difference(
    ranks: NDArray[np.floating], reference: NDArray[np.floating], cut: int
) -> tuple[float, float]:
    """Difference of recall at a cut on the same queries, `ranks` minus `reference` (n,), and its standard error."""
    difference = (ranks < cut).astype(np.float64) - (reference < cut)
    if len(difference) < 2:
        return float("nan"), float("nan")
    return float(difference.mean()), float(difference.std(ddof=1) / np.sqrt(len(difference)))


def _prefix_sums(values: NDArray[np.int8]) -> NDArray[np.int32]:
    """Sum the first m values of each row, for every m from 0: (B, M) to (B, M + 1)."""
    sums = np.zeros((len(values), values.shape[1] + 1), np.int32)
    np.cumsum(values, 1, np.int32, out=sums[:, 1:])
    return sums


def _target_scores(scores: NDArray[np.floating], targets: NDArray[np.int64]) -> NDArray[np.floating]:
    """Scores of the targets (B,), -inf where there is none."""
    if scores.shape[1] == 0:
        return np.full(len(scores), -np.inf)
    found = np.take_along_axis(scores, np.maximum(targets, 0)[:, None], 1)[:, 0]
    return np.where(targets >= 0, found, -np.inf)
