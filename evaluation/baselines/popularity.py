"""Decayed popularity at several half-lives: the rival that is easy to underrate by choosing its half-life badly."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hsnn.evaluation.baselines.decayed_sums import Origin
from hsnn.evaluation.harness.query_batch import TOP, Field, Found, best_of
from hsnn.evaluation.metrics.ranks import MISS, ranks_within
from hsnn.trainer.rowstore.arrays import grown

HOURS = (0.1, 0.25, 0.5, 1.0, 4.0, 24.0, 168.0, 720.0, 2400.0, float("inf"))
"""Half-lives that are tried, in hours; the last one never forgets."""


class Popularity:
    """Counts of all items at every half-life, by row.

    Counts are kept as they were worth at an origin; decay is common to all items and does not change their order.

    Examples
    --------
    >>> popularity = Popularity()
    >>> popularity.count(np.array([0, 0, 1]), np.array([0, 0, 3_600_000]))
    >>> popularity.values[0, :2].argmax().item(), popularity.values[-1, :2].argmax().item()  # 0.1 h; for ever
    (1, 0)
    """

    def __init__(self) -> None:
        self._values: NDArray[np.float64] = np.zeros((1024, len(HOURS)))
        self._origin = Origin(HOURS)

    @property
    def values(self) -> NDArray[np.float64]:
        """Counts (H, rows), each half-life in a unit of its own."""
        return self._values.T

    def reserve(self, rows: int) -> None:
        """Make room for `rows` rows."""
        self._values = grown(self._values, rows)

    def count(self, rows: NDArray[np.integer], ts: NDArray[np.int64]) -> None:
        """Count engagements with `rows` (n,) at `ts` (n,), epoch ms."""
        self._values *= self._origin.move(ts)
        np.add.at(self._values, rows, self._origin.worth(ts))


class Leaders:
    """The most popular living items of a field, at every half-life.

    Attributes
    ----------
    counts : (H, N) float64
    order : (H, <= count) int64
        Places, most popular first, equal ones in order of place.
    """

    def __init__(self, popularity: Popularity, field: Field, count: int) -> None:
        self.counts = np.ascontiguousarray(popularity.values[:, field.rows])
        self.order: NDArray[np.int64] = np.stack([_first(column, count) for column in self.counts])

    def among(self, places: NDArray[np.int64], first: int) -> NDArray[np.float64]:
        """Share of `places` (B, T), -1 padded, among the `first` most popular items, at every half-life: (H, B)."""
        leading = np.zeros((len(self.counts), self.counts.shape[1] + 1), np.bool_)  # the last column is for -1
        np.put_along_axis(leading, self.order[:, :first], True, 1)
        shares: NDArray[np.float64] = leading[:, places].sum(2) / np.maximum((places >= 0).sum(1), 1)
        return shares


def popular(field: Field, leaders: Leaders) -> dict[str, Found]:
    """Answers by popularity alone, one per half-life."""
    found = {}
    for hours, counts, order in zip(HOURS, leaders.counts, leaders.order, strict=True):
        shown = order[: TOP + field.barred.shape[1]]
        may = ~(field.barred[:, :, None] == shown).any(1)  # (B, T + L)
        may &= np.cumsum(may, 1) <= TOP
        found[f"popularity:{hours}"] = Found(_ranks(field, counts), np.where(may, shown, -1))
    return found


def _ranks(field: Field, counts: NDArray[np.float64]) -> NDArray[np.float64]:
    """Ranks (B,) by `counts` (N,), from one sort for all queries; barred items are taken out afterwards."""
    if not len(counts):
        return np.full(len(field), MISS)
    ordered, own = np.sort(counts), counts[field.places]
    upto, below = np.searchsorted(ordered, own, "right"), np.searchsorted(ordered, own, "left")
    barred = np.where(field.barred >= 0, counts[field.barred], -np.inf)  # (B, L)
    before = len(ordered) - upto - (barred > own[:, None]).sum(1)
    ties = upto - below - 1 - (barred == own[:, None]).sum(1)
    return np.where(field.places >= 0, before + ties / 2, MISS)


def filtered(
    field: Field, leaders: Leaders, scores: NDArray[np.float32], budgets: tuple[int, ...]
) -> tuple[dict[str, Found], dict[str, NDArray[np.float64]]]:
    """Answers by the scorer behind a filter of the most popular items.

    Parameters
    ----------
    scores : (B, N)
        By the scorer, barred items at -inf.
    budgets
        Sizes of the filter; the last one is that of the answers.

    Returns
    -------
    answers, curves
        Answers by column, one per half-life; and ranks (B,) by column and budget, ``popularity_filter:1.0@50``.
    """
    answers: dict[str, Found] = {}
    curves: dict[str, NDArray[np.float64]] = {}
    for hours, order in zip(HOURS, leaders.order, strict=True):
        name = f"popularity_filter:{hours}"
        ranks, scored = ranks_within(order, scores, field.places, budgets)
        curves |= {f"{name}@{budget}": ranks[:, at] for at, budget in enumerate(budgets)}
        first = order[: budgets[-1] + field.barred.shape[1]]
        answers[name] = Found(ranks[:, -1], best_of(first, scores, budgets[-1]), scored[:, -1])
    return answers, curves


def _first(values: NDArray[np.float64], count: int) -> NDArray[np.int64]:
    """Places of the `count` largest of `values` (N,), largest first, equal ones in order of place."""
    if len(values) > count:
        least = np.partition(values, len(values) - count)[len(values) - count]
        chosen = np.flatnonzero(values >= least)
        return chosen[np.argsort(-values[chosen], kind="stable")][:count]
    return np.argsort(-values, kind="stable")
