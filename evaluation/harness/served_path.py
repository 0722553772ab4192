"""The served path itself: the code that answers requests, asked as a client would."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hsnn.evaluation.harness.query_batch import TOP, Field, Found
from hsnn.evaluation.harness.query_sampling import Asked
from hsnn.evaluation.metrics.ranks import MISS
from hsnn.serving.limits import RetrievalLimits
from hsnn.serving.mirror.mirror import Mirror
from hsnn.serving.search.beam import retrieve


def served(mirror: Mirror, field: Field, k: int) -> Found:
    """Ask for `k` items; a target beyond them was not returned."""
    asked: Asked = field.asked
    answers = retrieve(mirror, asked.requests, RetrievalLimits(max_k=k))
    ranks = [_position(answer.items, name) for answer, name in zip(answers, asked.names, strict=True)]
    shown: NDArray[np.int64] = np.full((len(answers), TOP), -1, np.int64)
    for number, answer in enumerate(answers):
        first = answer.items[:TOP]
        shown[number, : len(first)] = field.state.items.ids.rows(first)
    return Found(np.array(ranks), field.at(shown), np.array([answer.stats.scored for answer in answers], np.int64))


def _position(items: list[str], target: str) -> float:
    return float(items.index(target)) if target in items else MISS
