"""Answers of baselines that score every item, query by query and under several settings at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from hsnn.evaluation.baselines.base import ScoredBatch
from hsnn.evaluation.metrics.ranks import ranks_of
from hsnn.evaluation.queries.query_batch import MethodResult


def answers_by_score(
    batch: ScoredBatch, columns: Sequence[str], score: Callable[[int], NDArray[np.float64]]
) -> dict[str, MethodResult]:
    """Rank all items but the excluded ones by their scores.

    Parameters
    ----------
    batch
    columns
        S of them, one per setting.
    score
        Gives the scores (S, N) of the items for the query of a number.
    """
    queries = batch.queries
    ranks, shown = (
        np.empty((len(columns), len(queries))),
        [at for at in range(len(columns)) if batch.is_chosen(columns[at])],
    )
    tops: list[NDArray[np.int64]] = []
    for number in range(len(queries)):
        scores, excluded = score(number), queries.excluded[number]
        scores[:, excluded[excluded >= 0]] = -np.inf
        ranks[:, number] = ranks_of(scores, np.repeat(queries.targets[number], len(scores)))
        if shown:
            tops.append(queries.top_positions(scores[shown]))
    results = {column: MethodResult(rank, None) for column, rank in zip(columns, ranks, strict=True)}
    for place, at in enumerate(shown if tops else ()):
        results[columns[at]] = MethodResult(ranks[at], np.stack([top[place] for top in tops]))
    return results
