"""Decayed co-visitation: what followed the user's last items lately. The strongest rival that learns no vectors.

After an item ``h`` of the last five came ``j``: one for ``j`` given ``h``, a half for ``h`` given ``j``. With ``C`` the
decayed counts and ``p`` decayed popularity, an item's score is the mean over the last five of
``(C[h, j] + kappa * p_j) / (sum of C[h] + kappa)``.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hsnn.evaluation.baselines.decayed_sums import Origin
from hsnn.evaluation.baselines.popularity import HOURS as POPULARITY_HOURS
from hsnn.evaluation.baselines.sparse_counts import SparseCounts
from hsnn.evaluation.harness.query_batch import Field, Found
from hsnn.evaluation.metrics.ranks import ranks_of
from hsnn.trainer.rowstore.arrays import grown

HOURS = (1.0, 12.0, 168.0, 2400.0)
"""Half-lives that are tried, in hours."""
SMOOTHING = (0.25, 4.0, 24.0, 168.0)
"""Half-life of the popularity that each is smoothed towards."""
LAST = 5
BACKWARD = 0.5
KAPPA = 30.0

_POPULAR = [POPULARITY_HOURS.index(hours) for hours in SMOOTHING]


class CoVisitation:
    """Counts of what followed what, at every half-life."""

    def __init__(self) -> None:
        self._cells = SparseCounts(len(HOURS))
        self._sums: NDArray[np.float64] = np.zeros((1024, len(HOURS)))
        self._origin = Origin(HOURS)

    def count(self, items: NDArray[np.int64], ts: NDArray[np.int64], history: NDArray[np.int32]) -> None:
        """Count engagements with `items` (n,) at `ts` (n,), epoch ms, after `history` (n, L), newest last, -1 none."""
        factors = self._origin.move(ts)
        if (factors != 1).any():
            self._cells.scale(factors)
            self._sums *= factors
        before = history[:, -LAST:].astype(np.int64)
        number, column = np.nonzero((before >= 0) & (before != items[:, None]))
        earlier, later, worth = before[number, column], items[number], self._origin.worth(ts)[number]  # (m, H)
        rows, columns = np.concatenate([earlier, later]), np.concatenate([later, earlier])
        added = np.concatenate([worth, BACKWARD * worth])
        self._cells.add(rows, columns, added)
        self._sums = grown(self._sums, int(rows.max(initial=-1)) + 1)
        np.add.at(self._sums, rows, added)

    def scores(
        self, history: NDArray[np.int64], now: int, field: Field, popular: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Scores (H, N) of a field's items after the known `history` (<= LAST,) rows; `popular` (H, N) sums to one."""
        worth = self._origin.now(now)  # (H,)
        if not len(history):
            return popular.copy()
        sums = np.zeros((len(history), len(HOURS)))
        held = history < len(self._sums)
        sums[held] = self._sums[history[held]]
        weights = 1 / (sums * worth + KAPPA)  # (L, H)
        scores: NDArray[np.float64] = popular * (KAPPA * weights.sum(0))[:, None]
        for row, weight in zip(history.tolist(), weights, strict=True):
            columns, values = self._cells.row(row)
            places = field.at(columns)
            living = places >= 0
            scores[:, places[living]] += (values[living] * (worth * weight)).T
        scores /= len(history)
        return scores

    def judge(self, field: Field, counts: NDArray[np.float64]) -> dict[str, Found]:
        """Answers by co-visitation, one per half-life; `counts` (popularity's H, N) are those of popularity."""
        popular = counts[_POPULAR]
        popular = popular / np.maximum(popular.sum(1, keepdims=True), 1e-300)
        width, places = len(field.rows), field.places
        ranks, best = np.empty((len(HOURS), len(field))), []
        for number, history in enumerate(field.asked.history[:, -LAST:].astype(np.int64)):
            known = history[history >= 0]
            scores = self.scores(known, int(field.asked.ts[number]), field, popular)
            barred = field.barred[number]
            scores[:, barred[barred >= 0]] = -np.inf
            ranks[:, number] = ranks_of(scores, np.repeat(places[number], len(HOURS)))
            best.append(field.top(scores))
        tops = np.stack(best, 1) if best else np.zeros((len(HOURS), 0, min(width, 1)), np.int64)
        return {f"covisitation:{hours}": Found(of, shown) for hours, of, shown in zip(HOURS, ranks, tops, strict=True)}
