"""Result of the served path: the code that answers requests, called as the server calls it."""

from __future__ import annotations

import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from hsnn.evaluation.methods import TOP_K
from hsnn.evaluation.metrics.ranks import MISS
from hsnn.evaluation.queries.query_batch import MethodResult, QueryBatch
from hsnn.serving.limits import RetrievalLimits
from hsnn.serving.mirror.mirror import Mirror
from hsnn.serving.search.retrieval import retrieve


def served_result(
    mirror: Mirror, queries: QueryBatch, k: int, first: int | None = None, *, whole_leaves: bool = False
) -> MethodResult:
    """Retrieve `k` items for every query, or for the `first` ones; a target that is not among them is a miss.

    The `mirror` may be another one than that of the queries. With `whole_leaves` the answers are those of a server
    with the compiled engine.
    """
    sampled = queries.sampled
    requests = [replace(request, k=k) for request in sampled.requests[:first]]
    answers = retrieve(mirror, requests, RetrievalLimits(max_k=k, whole_leaves=whole_leaves))
    ranks = [_rank(answer.items, target) for answer, target in zip(answers, sampled.target_ids[:first], strict=True)]
    top: NDArray[np.int64] = np.full((len(answers), TOP_K), -1, np.int64)
    for number, answer in enumerate(answers):
        shown = answer.items[:TOP_K]
        top[number, : len(shown)] = queries.state.items.ids.rows(shown)
    scored = np.array([answer.stats.scored for answer in answers], np.int64)
    dots = np.array([getattr(answer.stats, "dots", 0) for answer in answers], np.int64)
    return MethodResult(np.array(ranks), queries.positions(top), scored, dots)


def _rank(items: list[str], target: str) -> float:
    return float(items.index(target)) if target in items else MISS
