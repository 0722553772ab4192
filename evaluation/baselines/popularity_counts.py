"""Decayed popularity counts at several half-lives, and the ranking of the retrievable items by them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hsnn.evaluation.baselines.decayed_sums import DecayOrigin
from hsnn.evaluation.methods import POPULARITY_HALF_LIVES
from hsnn.evaluation.queries.query_batch import QueryBatch
from hsnn.trainer.rowstore.arrays import grown


class PopularityCounts:
    """Decayed engagement counts of all items at every half-life, by row.

    Counts are kept in units of an origin in time: decay is common to all items and does not change their order.

    Examples
    --------
    >>> popularity = PopularityCounts()
    >>> popularity.add(np.array([0, 0, 1]), np.array([0, 0, 3_600_000]))
    >>> popularity.values[0, :2].argmax().item(), popularity.values[-1, :2].argmax().item()  # 0.1 h; no decay
    (1, 0)
    """

    def __init__(self) -> None:
        self._values: NDArray[np.float64] = np.zeros((1024, len(POPULARITY_HALF_LIVES)))
        self._origin = DecayOrigin(POPULARITY_HALF_LIVES)

    @property
    def values(self) -> NDArray[np.float64]:
        """Counts (H, rows), each half-life in a unit of its own."""
        return self._values.T

    def known(self) -> NDArray[np.int64]:
        """Rows (n,) of the items counted so far, ascending."""
        return np.flatnonzero(self._values[:, -1] > 0)  # the last half-life never decays

    def reserve(self, rows: int) -> None:
        """Make room for `rows` rows."""
        self._values = grown(self._values, rows)

    def add(self, rows: NDArray[np.integer], ts: NDArray[np.int64]) -> None:
        """Count engagements with `rows` (n,) at `ts` (n,), epoch ms."""
        self._values *= self._origin.advance(ts)
        np.add.at(self._values, rows, self._origin.weights(ts))


class PopularityRanking:
    """The most popular retrievable items of a batch of queries, at every half-life.

    Attributes
    ----------
    counts : (H, N) float64
    order : (H, <= count) int64
        Positions, most popular first, equal ones in order of position.
    """

    def __init__(self, popularity: PopularityCounts, queries: QueryBatch, count: int) -> None:
        self.counts = np.ascontiguousarray(popularity.values[:, queries.rows])
        self.order: NDArray[np.int64] = np.stack([_largest(column, count) for column in self.counts])

    def share_popular(self, positions: NDArray[np.int64], first: int) -> NDArray[np.float64]:
        """Share of `positions` (B, T), -1 padded, among the `first` most popular items, per half-life: (H, B)."""
        popular = np.zeros((len(self.counts), self.counts.shape[1] + 1), np.bool_)  # the last column is for -1
        np.put_along_axis(popular, self.order[:, :first], True, 1)
        shares: NDArray[np.float64] = popular[:, positions].sum(2) / np.maximum((positions >= 0).sum(1), 1)
        return shares


def _largest(values: NDArray[np.float64], count: int) -> NDArray[np.int64]:
    """Positions of the `count` largest of `values` (N,), largest first, equal ones in order of position."""
    if len(values) > count:
        least = np.partition(values, len(values) - count)[len(values) - count]
        chosen = np.flatnonzero(values >= least)
        return chosen[np.argsort(-values[chosen], kind="stable")][:count]
    return np.argsort(-values, kind="stable")
