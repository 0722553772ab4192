"""Result of the served path: the code that answers requests, called as the server calls it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hsnn.evaluation.methods import TOP_K
from hsnn.evaluation.metrics.ranks import MISS
from hsnn.evaluation.queries.query_batch import MethodResult, QueryBatch
from hsnn.serving.limits import RetrievalLimits
from hsnn.serving.mirror.mirror import Mirror
from hsnn.serving.search.retrieval import retrieve


def served_result(mirror: Mirror, queries: QueryBatch, k: int) -> MethodResult:
    """Retrieve `k` items for every query; a target that is not among them is a miss."""
    sampled = queries.sampled
    answers = retrieve(mirror, sampled.requests, RetrievalLimits(max_k=k))
    ranks = [_rank(answer.items, target) for answer, target in zip(answers, sampled.target_ids, strict=True)]
    top: NDArray[np.int64] = np.full((len(answers), TOP_K), -1, np.int64)
    for number, answer in enumerate(answers):
        first = answer.items[:TOP_K]
        top[number, : len(first)] = queries.state.items.ids.rows(first)
    scored = np.array([answer.stats.scored for answer in answers], np.int64)
    return MethodResult(np.array(ranks), queries.positions(top), scored)


def _rank(items: list[str], target: str) -> float:
    return float(items.index(target)) if target in items else MISS
