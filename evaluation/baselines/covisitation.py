"""Decayed co-visitation: items that recently followed the user's last items. The strongest baseline without vectors.

When item ``j`` follows an item ``h`` among the user's last ones, the pair ``(h, j)`` gains the weight of ``h``'s place
and ``(j, h)`` gains half of it. With ``C`` the decayed counts, ``p`` decayed popularity and ``w`` the weights of the
places, an item's score is the mean over the last items, weighted by ``w``, of
``(C[h, j] + kappa * p_j) / (sum of C[h] + kappa)``.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import numpy as np
from numpy.typing import NDArray

from hsnn.evaluation.baselines.base import Baseline, BaselineDeclaration, LearnedBatch, ScoredBatch
from hsnn.evaluation.baselines.decayed_sums import DecayOrigin
from hsnn.evaluation.baselines.scored_answers import answers_by_score
from hsnn.evaluation.baselines.sparse_counts import SparseCounts
from hsnn.evaluation.methods import POPULARITY_HALF_LIVES
from hsnn.evaluation.queries.query_batch import MethodResult, QueryBatch
from hsnn.trainer.rowstore.arrays import grown

# Number of last items of a user that are paired with the next one, and that an answer is made from.
LAST_ITEMS = 10

_PLACES = np.arange(1, LAST_ITEMS + 1)  # 1 is the newest

WEIGHTINGS = {
    "place10": 1 / _PLACES,
    "equal5": (_PLACES <= 5) * 1.0,  # as it is usually published
    "fading10": 0.7 ** (_PLACES - 1),  # 0.7: the fifth item counts a quarter
}
"""Weights (LAST_ITEMS,) of the user's last items, the newest first, by name."""

# Half-lives in hours; pairs are rarer than clicks, so the grid starts later than that of popularity.
HALF_LIVES = (168.0, 1.0, 12.0, 2400.0)

# Half-life, in hours, of the popularity that the counts of each co-visitation half-life are smoothed towards.
SMOOTHING_HALF_LIVES = (24.0, 0.25, 4.0, 168.0)

# Weight of the pair in reverse order, relative to the pair as it happened: going back is likely too, but less so.
BACKWARD_WEIGHT = 0.5

# Weight of popularity in the smoothed score, in units of one pair.
KAPPA = 30.0

_PLACE_WEIGHTS = np.stack(list(WEIGHTINGS.values()), 1)  # (LAST_ITEMS, weightings)
_SMOOTHING = [POPULARITY_HALF_LIVES.index(hours) for hours in SMOOTHING_HALF_LIVES] * len(WEIGHTINGS)


class CovisitationBaseline(Baseline):
    """Counts which item follows which, under every setting, and answers from the counts of the user's last items.

    A setting is a weighting and a half-life; S is their number.
    """

    name = "covisitation"
    settings = tuple(f"{weighting}-{hours:g}h" for weighting, hours in product(WEIGHTINGS, HALF_LIVES))

    def __init__(self) -> None:
        self._cells = SparseCounts(len(self.settings))
        self._sums: NDArray[np.float64] = np.zeros((1024, len(self.settings)))  # of each row of the cells
        self._origin = DecayOrigin(HALF_LIVES * len(WEIGHTINGS))

    def learn(self, batch: LearnedBatch) -> None:
        """Count the engagements of a batch."""
        self.add(batch.prepared.items, batch.prepared.ts, batch.history)

    def add(self, items: NDArray[np.int64], ts: NDArray[np.int64], history: NDArray[np.int32]) -> None:
        """Count engagements with `items` (n,) at `ts` (n,), epoch ms, after `history` (n, L), newest last, -1 none."""
        if not len(items):
            return
        factors = self._origin.advance(ts)
        if (factors != 1).any():
            self._cells.scale(factors)
            self._sums *= factors
        before = history[:, ::-1][:, :LAST_ITEMS].astype(np.int64)  # the newest first
        number, place = np.nonzero((before >= 0) & (before != items[:, None]))
        earlier, later = before[number, place], items[number]
        weights = self._origin.weights(ts)[number] * np.repeat(_PLACE_WEIGHTS[place], len(HALF_LIVES), axis=1)  # (m, S)
        rows, columns = np.concatenate([earlier, later]), np.concatenate([later, earlier])
        added = np.concatenate([weights, BACKWARD_WEIGHT * weights])
        self._cells.add(rows, columns, added)
        self._sums = grown(self._sums, int(rows.max(initial=-1)) + 1)
        np.add.at(self._sums, rows, added)

    def scores(
        self,
        history: NDArray[np.integer],
        now: int,
        queries: QueryBatch,
        popularity: NDArray[np.float64],
        *,
        settings: Sequence[int] | None = None,
    ) -> NDArray[np.float64]:
        """Score the items of a batch of queries for one of them: (S, N).

        Parameters
        ----------
        history : (L,)
            Rows of the user's last items, newest last; -1 where there is none.
        now
            Time of the query, epoch ms.
        popularity : (S, N)
            Shares that sum to one.
        settings
            Indices of the S settings; all of them by default.
        """
        chosen = slice(None) if settings is None else list(settings)
        newest_first = history[::-1][:LAST_ITEMS]
        places = np.flatnonzero(newest_first >= 0)
        if not len(places):
            return popularity.copy()
        rows = newest_first[places].astype(np.int64)
        unit = self._origin.unit_value(now)[chosen]  # (S,)
        sums = np.zeros((len(rows), len(self.settings)))
        counted = rows < len(self._sums)
        sums[counted] = self._sums[rows[counted]]
        sums = sums[:, chosen]
        shares = np.repeat(_PLACE_WEIGHTS[places], len(HALF_LIVES), axis=1)[:, chosen]  # (<= LAST_ITEMS, S)
        weights = shares / (sums * unit + KAPPA)
        by_item = np.ascontiguousarray((popularity * (KAPPA * weights.sum(0))[:, None]).T)  # (N, S)
        for row, weight in zip(rows.tolist(), weights, strict=True):
            columns, values = self._cells.row(row)
            positions = queries.positions(columns)
            retrievable = positions >= 0
            by_item[positions[retrievable]] += values[retrievable][:, chosen] * (unit * weight)
        by_item /= np.maximum(shares.sum(0), 1e-300)
        return by_item.T

    def answer(self, batch: ScoredBatch) -> dict[str, MethodResult]:
        """Answer with the items of the highest scores, one result per setting."""
        queries, sampled = batch.queries, batch.queries.sampled
        popularity = batch.ranking.counts[_SMOOTHING]
        popularity = popularity / np.maximum(popularity.sum(1, keepdims=True), 1e-300)

        def score(number: int, settings: list[int]) -> NDArray[np.float64]:
            history, now = sampled.history[number], int(sampled.ts[number])
            return self.scores(history, now, queries, popularity[settings], settings=settings)

        return answers_by_score(batch, self.columns, score)


BASELINES = (BaselineDeclaration("covisitation", lambda _: CovisitationBaseline(), counting=True),)
