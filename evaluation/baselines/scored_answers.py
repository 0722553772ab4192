"""Answers of baselines that score every item, query by query and under several settings at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from hsnn.evaluation.baselines.base import ScoredBatch
from hsnn.evaluation.metrics.ranks import ranks_of
from hsnn.evaluation.queries.query_batch import MethodResult


def answers_by_score(
    batch: ScoredBatch, columns: Sequence[str], score: Callable[[int, list[int]], NDArray[np.float64]]
) -> dict[str, MethodResult]:
    """Rank all items but the excluded ones by their scores.

    Parameters
    ----------
    batch
    columns
        One per setting.
    score
        Gives the scores (S, N) of the items for the query of a number, under the settings of S indices.
    """
    queries, wanted = batch.queries, batch.wanted(columns)
    ranks = np.empty((len(wanted), len(queries)))
    shown = [place for place, at in enumerate(wanted) if batch.is_chosen(columns[at])]
    tops: list[NDArray[np.int64]] = []
    for number in range(len(queries)):
        scores, excluded = score(number, wanted), queries.excluded[number]
        scores[:, excluded[excluded >= 0]] = -np.inf
        ranks[:, number] = ranks_of(scores, np.repeat(queries.targets[number], len(scores)))
        if shown:
            tops.append(queries.top_positions(scores[shown]))
    results = {columns[at]: MethodResult(rank, None) for at, rank in zip(wanted, ranks, strict=True)}
    for index, place in enumerate(shown if tops else ()):
        results[columns[wanted[place]]] = MethodResult(ranks[place], np.stack([top[index] for top in tops]))
    return results
