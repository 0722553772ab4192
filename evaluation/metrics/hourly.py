"""Figures of the hourly session protocol: hit rate and NDCG per hour, averaged over the hours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from hsnn.evaluation.metrics.chosen_settings import choose_columns
from hsnn.evaluation.metrics.ranks import ndcg, recall
from hsnn.evaluation.metrics.shortfalls import holm

# Cut of hit rate and NDCG, as published.
CUT = 20

# Standard errors on either side of a 95% interval.
_INTERVAL = float(stats.norm.ppf(0.975))

FIGURES = {"hr_at_20": recall, "ndcg_at_20": ndcg}
"""Functions of ranks and a cut; the hit rate of one target is its recall."""


@dataclass(frozen=True, slots=True)
class HourlyRun:
    """Results of one pass in one mode.

    Attributes
    ----------
    ranks : column -> (n,)
    hour : (n,) int64
        Of each query.
    columns : method -> columns
        The served path first.
    event : (n,) int64
        Positions of the targets in the stream.
    """

    ranks: Mapping[str, NDArray[np.float32]]
    hour: NDArray[np.int64]
    columns: Mapping[str, Sequence[str]]
    event: NDArray[np.int64]

    def chosen_ranks(self) -> dict[str, NDArray[np.float32]]:
        """Ranks (n,) of each method, every hour under the setting that was best in the hours before it."""
        chosen = {method: np.empty(len(self.hour), np.float32) for method in self.columns}
        for hour in np.unique(self.hour).tolist():
            before, now = self.hour < hour, self.hour == hour
            best = choose_columns(self.columns, {name: ranks[before] for name, ranks in self.ranks.items()})
            for method, column in best.items():
                chosen[method][now] = self.ranks[column][now]
        return chosen


def hourly_figures(run: HourlyRun) -> dict[str, Any]:
    """Compute the figures of all methods, and the served path's difference from each.

    Intervals are over the hours (95%, normal). ``behind`` is corrected for the number of comparisons (Holm).
    ``hindsight_hr_at_20`` is under the setting that was best over all hours.
    """
    chosen, hours = run.chosen_ranks(), np.unique(run.hour)
    parts = [np.flatnonzero(run.hour == hour) for hour in hours.tolist()]
    by_hour = {
        (method, name): np.array([figure(ranks[part], CUT) for part in parts])
        for method, ranks in chosen.items()
        for name, figure in FIGURES.items()
    }
    methods = {method: {name: float(by_hour[method, name].mean()) for name in FIGURES} for method in chosen}
    for method, columns in run.columns.items():
        methods[method]["hindsight_hr_at_20"] = max(
            float(np.mean([recall(run.ranks[column][part], CUT) for part in parts])) for column in columns
        )
    compared = []
    for method, name in by_hour:
        if method != "served":
            difference = by_hour["served", name] - by_hour[method, name]
            error = float(difference.std(ddof=1) / np.sqrt(len(difference))) if len(difference) > 1 else 0.0
            mean = float(difference.mean())
            p = float(stats.norm.cdf(mean / error)) if error else 1.0
            ends = {"low": mean - _INTERVAL * error, "high": mean + _INTERVAL * error}
            compared.append({"method": method, "figure": name, "mean": mean, **ends, "p": p})
    behind = holm(np.array([one["p"] for one in compared]))
    return {
        "methods": methods,
        "comparisons": [one | {"behind": bool(is_behind)} for one, is_behind in zip(compared, behind, strict=True)],
        "hours": len(hours),
        "targets": len(run.hour),
    }
