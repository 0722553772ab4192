"""Decayed co-visitation: items that recently followed the user's last items. The strongest baseline without vectors.

When item ``j`` follows an item ``h`` among the user's last five, the pair ``(h, j)`` gains 1 and ``(j, h)`` gains 1/2.
With ``C`` the decayed counts and ``p`` decayed popularity, an item's score is the mean over the last five of
``(C[h, j] + kappa * p_j) / (sum of C[h] + kappa)``.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hsnn.evaluation.baselines.base import Baseline, LearnedBatch, ScoredBatch
from hsnn.evaluation.baselines.decayed_sums import DecayOrigin
from hsnn.evaluation.baselines.sparse_counts import SparseCounts
from hsnn.evaluation.methods import COVISITATION_HALF_LIVES, POPULARITY_HALF_LIVES
from hsnn.evaluation.metrics.ranks import ranks_of
from hsnn.evaluation.queries.query_batch import MethodResult, QueryBatch
from hsnn.trainer.rowstore.arrays import grown

# Half-life, in hours, of the popularity that the counts of each co-visitation half-life are smoothed towards.
SMOOTHING_HALF_LIVES = (0.25, 4.0, 24.0, 168.0)

# Number of last items of a user that are paired with the next one, and that an answer is made from.
LAST_ITEMS = 5

# Weight of the pair in reverse order, relative to the pair as it happened: going back is likely too, but less so.
BACKWARD_WEIGHT = 0.5

# Weight of popularity in the smoothed score, in units of one pair.
KAPPA = 30.0

_SMOOTHING = [POPULARITY_HALF_LIVES.index(hours) for hours in SMOOTHING_HALF_LIVES]


class CovisitationBaseline(Baseline):
    """Counts which item follows which, at every half-life, and answers from the counts of the user's last items."""

    name = "covisitation"

    def __init__(self) -> None:
        halves = COVISITATION_HALF_LIVES
        self._cells = SparseCounts(len(halves))
        self._sums: NDArray[np.float64] = np.zeros((1024, len(halves)))  # of each row of the cells
        self._origin = DecayOrigin(halves)

    def learn(self, batch: LearnedBatch) -> None:
        """Count the engagements of a batch."""
        self.add(batch.prepared.items, batch.prepared.ts, batch.history)

    def add(self, items: NDArray[np.int64], ts: NDArray[np.int64], history: NDArray[np.int32]) -> None:
        """Count engagements with `items` (n,) at `ts` (n,), epoch ms, after `history` (n, L), newest last, -1 none."""
        factors = self._origin.advance(ts)
        if (factors != 1).any():
            self._cells.scale(factors)
            self._sums *= factors
        before = history[:, -LAST_ITEMS:].astype(np.int64)
        number, column = np.nonzero((before >= 0) & (before != items[:, None]))
        earlier, later, weights = before[number, column], items[number], self._origin.weights(ts)[number]  # (m, H)
        rows, columns = np.concatenate([earlier, later]), np.concatenate([later, earlier])
        added = np.concatenate([weights, BACKWARD_WEIGHT * weights])
        self._cells.add(rows, columns, added)
        self._sums = grown(self._sums, int(rows.max(initial=-1)) + 1)
        np.add.at(self._sums, rows, added)

    def scores(
        self, history: NDArray[np.int64], now: int, queries: QueryBatch, popularity: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Score the items of a batch of queries for one of them: (H, N).

        Parameters
        ----------
        history : (<= LAST_ITEMS,)
            Known rows of the user's last items.
        now
            Time of the query, epoch ms.
        popularity : (H, N)
            Shares that sum to one.
        """
        unit = self._origin.unit_value(now)  # (H,)
        if not len(history):
            return popularity.copy()
        sums = np.zeros((len(history), len(COVISITATION_HALF_LIVES)))
        counted = history < len(self._sums)
        sums[counted] = self._sums[history[counted]]
        weights = 1 / (sums * unit + KAPPA)  # (L, H)
        scores: NDArray[np.float64] = popularity * (KAPPA * weights.sum(0))[:, None]
        for row, weight in zip(history.tolist(), weights, strict=True):
            columns, values = self._cells.row(row)
            positions = queries.positions(columns)
            retrievable = positions >= 0
            scores[:, positions[retrievable]] += (values[retrievable] * (unit * weight)).T
        scores /= len(history)
        return scores

    def answer(self, batch: ScoredBatch) -> dict[str, MethodResult]:
        """Answer with the items of the highest scores, one result per half-life."""
        queries, halves = batch.queries, COVISITATION_HALF_LIVES
        popularity = batch.ranking.counts[_SMOOTHING]
        popularity = popularity / np.maximum(popularity.sum(1, keepdims=True), 1e-300)
        ranks, best = np.empty((len(halves), len(queries))), []
        for number, history in enumerate(queries.sampled.history[:, -LAST_ITEMS:].astype(np.int64)):
            scores = self.scores(history[history >= 0], int(queries.sampled.ts[number]), queries, popularity)
            excluded = queries.excluded[number]
            scores[:, excluded[excluded >= 0]] = -np.inf
            ranks[:, number] = ranks_of(scores, np.repeat(queries.targets[number], len(halves)))
            best.append(queries.top_positions(scores))
        tops = np.stack(best, 1) if best else np.zeros((len(halves), 0, min(len(queries.rows), 1)), np.int64)
        return {
            f"{self.name}:{hours}": MethodResult(rank, top)
            for hours, rank, top in zip(halves, ranks, tops, strict=True)
        }
