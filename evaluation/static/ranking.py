"""Recall and NDCG of LightGCN's evaluation: all items but a user's training items are ranked, users are averaged."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hsnn.trainer.vector_index.exhaustive import Csr


class RankingFigures(NamedTuple):
    """Means over the users with test items.

    Attributes
    ----------
    recall, ndcg : float
    by_user : (users,) float64
        Recall of each of these users.
    """

    recall: float
    ndcg: float
    by_user: NDArray[np.float64]


def ranking_figures(found: NDArray[np.int64], test: Csr) -> RankingFigures:
    """Compute recall and NDCG at k of answers (U, k), -1 where empty, against the test items of U users.

    Recall is hits over test items; an ideal ranking has ``min(k, test items)`` hits at its start.

    Examples
    --------
    >>> found = np.array([[7, 1], [2, 3], [0, 0]])
    >>> figures = ranking_figures(found, (np.array([0, 2, 3, 3]), np.array([1, 4, 2])))
    >>> figures.recall  # one of two, one of one; the third user has no test item
    0.75
    """
    starts, wanted = test
    counts = np.diff(starts)
    width = int(max(found.max(), wanted.max())) + 1
    keys = np.repeat(np.arange(len(counts)), counts) * width + wanted
    hits = np.isin(np.arange(len(found))[:, None] * width + found, keys) & (found >= 0)  # (U, k)
    gains = 1 / np.log2(np.arange(found.shape[1]) + 2)
    asked = np.flatnonzero(counts)
    ideal = np.cumsum(gains)[np.minimum(counts[asked], found.shape[1]) - 1]
    recall = hits[asked].sum(1) / counts[asked]
    return RankingFigures(float(recall.mean()), float(((hits[asked] @ gains) / ideal).mean()), recall)
