"""Top-k selection with a fixed order of equal scores, and the result of a search."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class SearchResult(NamedTuple):
    """Result of a search.

    Attributes
    ----------
    rows : (<= k,) int64
        Best first.
    scores : (<= k,) float
    scored, candidates, nodes : int
        Work, as in `hsnn.serving.schema.AnswerStats`.
    certified : bool
        Whether no better allowed item exists.
    dots : int
        Candidates whose dot product was computed to choose those that were scored.
    sources : mapping of name to int
        Scored items by the source that they came from.
    evaluations : int or None
        Nodes scored; None: as many as the chunk's encoding did.
    """

    rows: NDArray[np.int64]
    scores: NDArray[np.floating]
    scored: int
    candidates: int
    nodes: int
    certified: bool
    dots: int = 0
    sources: Mapping[str, int] = MappingProxyType({})
    evaluations: int | None = None

    def united(self, other: SearchResult, k: int) -> SearchResult:
        """Return the best `k` of this result and another one for the same request."""
        rows, first = np.unique(np.r_[self.rows, other.rows], return_index=True)
        best, values = top_k_rows(rows, np.r_[self.scores, other.scores][first], k)
        return self._replace(
            rows=best,
            scores=values,
            scored=self.scored + other.scored,
            dots=self.dots + other.dots,
            sources=Counter(self.sources) + Counter(other.sources),
        )


def top_k_rows(
    rows: NDArray[np.int64], scores: NDArray[np.float32], k: int
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Choose the best `k` of `rows` (n,) by `scores` (n,), best first; of equal ones the lower row first.

    Examples
    --------
    >>> top_k_rows(np.array([7, 3, 5]), np.array([1, 1, 2], np.float32), 2)[0].tolist()
    [5, 3]
    """
    order = np.argsort(rows)
    chosen = order[top_k(scores[order], k)]
    return rows[chosen], scores[chosen]


def top_k(values: NDArray[np.floating], k: int) -> NDArray[np.int64]:
    """Positions of the `k` largest of `values` (n,), best first, equal ones in order of position."""
    if k >= len(values):
        return np.argsort(-values, kind="stable")
    least = np.partition(values, len(values) - k)[len(values) - k]
    chosen = np.flatnonzero(values >= least)
    return chosen[np.argsort(-values[chosen], kind="stable")][:k]
