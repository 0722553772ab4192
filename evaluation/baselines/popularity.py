"""Decayed popularity: the same items for everybody, the most clicked first."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hsnn.evaluation.baselines.base import Baseline, BaselineDeclaration, ScoredBatch
from hsnn.evaluation.methods import POPULARITY_HALF_LIVES, TOP_K
from hsnn.evaluation.metrics.ranks import MISS
from hsnn.evaluation.queries.query_batch import MethodResult, QueryBatch

# Half-lives, a day first: what most shops and sites would begin with.
SETTINGS = tuple(str(hours) for hours in sorted(POPULARITY_HALF_LIVES, key=lambda hours: hours != 24.0))


class PopularityBaseline(Baseline):
    """Answers with the most popular items, one result per half-life; the counts are the evaluator's own."""

    name = "popularity"
    settings = SETTINGS

    def answer(self, batch: ScoredBatch) -> dict[str, MethodResult]:
        """Rank by popularity alone."""
        queries, ranking, results = batch.queries, batch.ranking, {}
        for hours, counts, order in zip(POPULARITY_HALF_LIVES, ranking.counts, ranking.order, strict=True):
            # At most E of the first TOP_K + E items are excluded, so TOP_K of them are left for every query.
            first = order[: TOP_K + queries.excluded.shape[1]]
            kept = ~(queries.excluded[:, :, None] == first).any(1)  # (B, TOP_K + E)
            kept &= np.cumsum(kept, 1) <= TOP_K
            results[f"{self.name}:{hours}"] = MethodResult(_ranks(queries, counts), np.where(kept, first, -1))
        return results


def _ranks(queries: QueryBatch, counts: NDArray[np.float64]) -> NDArray[np.float64]:
    """Ranks (B,) of the targets by `counts` (N,).

    All queries share one sort; the excluded items of each query are subtracted from its rank afterwards.
    """
    if not len(counts):
        return np.full(len(queries), MISS)
    ordered, target = np.sort(counts), counts[queries.targets]
    not_above, below = np.searchsorted(ordered, target, "right"), np.searchsorted(ordered, target, "left")
    excluded = np.where(queries.excluded >= 0, counts[queries.excluded], -np.inf)  # (B, E)
    above = len(ordered) - not_above - (excluded > target[:, None]).sum(1)
    ties = not_above - below - 1 - (excluded == target[:, None]).sum(1)
    return np.where(queries.targets >= 0, above + ties / 2, MISS)


BASELINES = (BaselineDeclaration("popularity", lambda _: PopularityBaseline(), counting=True),)
