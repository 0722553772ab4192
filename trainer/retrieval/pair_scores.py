"""Scores of single pairs of a request and an item, sparse, and their addition to the scores of candidates."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class PairScores(NamedTuple):
    """What pair facts add to the scores of some items, for B requests.

    Attributes
    ----------
    query : (n,) int64
        Ascending.
    rows : (n,) int64
        Ascending for each query, each item once.
    scores : (n,) float32
    near : (n,) bool
        Whether the item is a neighbour of the user's last items; the others are the user's own past items.

    Examples
    --------
    >>> pairs = PairScores.from_parts(np.array([0, 0, 0]), np.array([9, 4, 9]), np.array([1, 2, 3], np.float32), 2)
    >>> pairs.rows.tolist(), pairs.scores.tolist(), pairs.near.tolist()
    ([4, 9], [2.0, 4.0], [True, True])
    >>> pairs.added_to(np.zeros(3, np.float32), np.array([4, 5, 9])).tolist()
    [2.0, 0.0, 4.0]
    """

    query: NDArray[np.int64]
    rows: NDArray[np.int64]
    scores: NDArray[np.float32]
    near: NDArray[np.bool_]

    @classmethod
    def from_parts(
        cls, query: NDArray[np.int64], rows: NDArray[np.int64], scores: NDArray[np.float32], near: int
    ) -> PairScores:
        """Sum scores (n,) of pairs that may occur twice; the first `near` of them are of neighbours."""
        width = int(rows.max(initial=-1)) + 1
        keys, first, inverse = np.unique(query * width + rows, return_index=True, return_inverse=True)
        sums = np.zeros(len(keys), np.float32)
        np.add.at(sums, inverse, scores)
        pair_query, pair_rows = np.divmod(keys, max(width, 1))
        return cls(pair_query, pair_rows, sums, first < near)

    def by_query(self, count: int) -> list[PairScores]:
        """Return the pairs of each of `count` requests."""
        cuts = map(slice, *(np.searchsorted(self.query, np.arange(count) + end).tolist() for end in (0, 1)))
        return [PairScores(self.query[cut], self.rows[cut], self.scores[cut], self.near[cut]) for cut in cuts]

    def select(self, chosen: NDArray[np.bool_]) -> PairScores:
        """Return some of the pairs."""
        return PairScores(self.query[chosen], self.rows[chosen], self.scores[chosen], self.near[chosen])

    def added_to(self, scores: NDArray[np.float32], rows: NDArray[np.integer]) -> NDArray[np.float32]:
        """Add these pairs, of one request, to the scores (m,) of `rows` (m,), which ascend."""
        places = np.minimum(np.searchsorted(rows, self.rows), max(len(rows) - 1, 0))
        found = rows[places] == self.rows if len(rows) else np.zeros(len(self.rows), np.bool_)
        out = scores.copy()
        out[places[found]] += self.scores[found]
        return out
