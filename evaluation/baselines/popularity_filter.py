"""The served model behind a popularity filter: only the most popular items are scored."""

from __future__ import annotations

from collections.abc import Sequence

from hsnn.evaluation.baselines.base import SERVED_MODEL, Baseline, BaselineDeclaration, ScoredBatch
from hsnn.evaluation.baselines.popularity import SETTINGS
from hsnn.evaluation.methods import POPULARITY_HALF_LIVES
from hsnn.evaluation.metrics.ranks import ranks_within
from hsnn.evaluation.queries.query_batch import MethodResult, top_of_order


class PopularityFilterBaseline(Baseline):
    """Scores the most popular items with the served model.

    Parameters
    ----------
    budgets
        Sizes of the filter, in items; the last one is that of the answers, the others are points of the curve.
    """

    name = "popularity_filter"
    settings = SETTINGS

    def __init__(self, budgets: Sequence[int]) -> None:
        self._budgets = tuple(budgets)

    def answer(self, batch: ScoredBatch) -> dict[str, MethodResult]:
        """Answer at every half-life, ``popularity_filter:1.0``; for the chosen one the curve too, ``...:1.0@50``."""
        queries, scores, budgets = batch.queries, batch.scores[SERVED_MODEL], self._budgets
        results: dict[str, MethodResult] = {}
        for hours, order in zip(POPULARITY_HALF_LIVES, batch.ranking.order, strict=True):
            column = f"{self.name}:{hours}"
            ranks, scored = ranks_within(order, scores, queries.targets, budgets)
            results[column] = MethodResult(ranks[:, -1], None, scored[:, -1])
            if batch.is_chosen(column):
                results |= {f"{column}@{budget}": MethodResult(ranks[:, i], None) for i, budget in enumerate(budgets)}
                first = order[: budgets[-1] + queries.excluded.shape[1]]
                results[column] = MethodResult(ranks[:, -1], top_of_order(first, scores, budgets[-1]), scored[:, -1])
        return results


BASELINES = (BaselineDeclaration("popularity_filter", lambda given: PopularityFilterBaseline(given.budgets)),)
