"""Explanations: why each item is in an answer, and at which stage of the search another one fell out.

The search is asked again, for everything that it ranks, so that an explanation holds for whatever searches.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from hsnn.serving.mirror.epoch_state import EpochState
from hsnn.serving.schema import Query, Reason, WhyNot
from hsnn.serving.search.answers import Explanations
from hsnn.serving.search.condition_masks import filter_results
from hsnn.serving.search.conditions import ItemConditions
from hsnn.serving.search.filters import seen_rule
from hsnn.serving.search.selection import Search, Selected

Reasons = Callable[[NDArray[np.int64], NDArray[np.floating]], list[Reason]]
"""Gives the reasons of some rows (n,) with their scores (n,)."""

Unreached = Callable[[int], tuple[str, str]]
"""Says for an allowed row that the search did not score at which stage it fell out, and why."""


def explain(
    state: EpochState,
    request: Query,
    selected: Selected,
    *,
    conditions: ItemConditions,
    excluded: NDArray[np.integer],
    search: Search,
    reasons: Reasons,
    unreached: Unreached,
) -> Explanations:
    """Explain an answer as far as the query asks for it; `excluded` (E,) are the past items that were left out."""
    result, why, why_not = selected.result, None, None
    if request.explain:
        given = zip(result.rows.tolist(), reasons(result.rows, result.scores), strict=True)
        why = [_with_filters(state, request, row, reason) for row, reason in given]
    if request.why_not:
        ranking = search(conditions, len(state.items.ids)).rows.tolist()
        why_not = []
        for item in map(str, request.why_not):
            row = state.items.ids.row(item)
            stage, detail = (
                _stage_before(state, request, row, excluded) or _place(selected, ranking, row) or unreached(row)
            )
            why_not.append(WhyNot(item=item, stage=stage, detail=detail))
    return Explanations(why, why_not)


def _with_filters(state: EpochState, request: Query, row: int, reason: Reason) -> Reason:
    passed = [text for text, passes in filter_results(state, request.filters, row).items() if passes]
    return Reason(**{name: getattr(reason, name) for name in Reason.__struct_fields__} | {"passed": passed})


def _stage_before(state: EpochState, request: Query, row: int, excluded: NDArray[np.integer]) -> tuple[str, str] | None:
    """Return the stage before the search at which a row falls out; None if it is allowed."""
    alive = state.alive()
    if row < 0:
        return "unknown", "no item of this id is known here"
    if state.items.deleted_at[row]:
        return "deleted", "it was deleted"
    if not state.index.is_indexed(row):
        return "not_indexed", "it is in no node of the index: it has not been placed yet, or has left"
    if not alive[row]:
        return "expired", f"it ended at {int(state.items.unavailable_from[row])}, epoch ms"
    failed = [text for text, passes in filter_results(state, request.filters, row).items() if not passes]
    if failed:
        return "filtered", "it does not pass: " + "; ".join(failed)
    if row in excluded:
        return "seen", f"the user has engaged with it (rule {seen_rule(state, request).rule!r}), or dislikes it"
    return None


def _place(selected: Selected, ranking: list[int], row: int) -> tuple[str, str] | None:
    """Return what became of an allowed item that the search ranked; None if it did not."""
    chosen = selected.result.rows.tolist()
    if row in chosen:
        return "returned", f"it is number {chosen.index(row) + 1} of the answer"
    if row not in ranking:
        return None
    rank = ranking.index(row)
    if selected.propensities is not None:
        return "not_drawn", f"it is number {rank + 1} by score, and was not drawn"
    if any(row in chosen for row in ranking[rank:]):
        return "capped", f"it is number {rank + 1} by score; a cap, or the share of new items, was reached"
    return "ranked_below", f"it is number {rank + 1} by score, below the last of the answer"
