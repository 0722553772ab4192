"""What retrieval quality has to show, as numbers over seeds with a verdict: met, missed or unresolved."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from benchmarks.quality.cells import source
from hsnn.evaluation.methods import CANDIDATE_ORDERS, CURVE_BUDGETS
from hsnn.evaluation.metrics.method_metrics import figures, ranks
from hsnn.evaluation.metrics.paired_differences import Interval, compare, compare_columns, interval
from hsnn.evaluation.metrics.ranks import recall
from hsnn.evaluation.metrics.run import Run, select_queries
from hsnn.evaluation.report.summary import interval_values

Runs = Mapping[str, Sequence[Run]]
"""Variant -> one run per seed."""

_NEWS = {"recall_at_20": 0.74, "recall_at_50": 0.84, "fresh_6h_recall_at_50": 0.67, "rare_recall_at_50": 0.36}
_FILMS = ("ml-100k", "movietweetings")


def goals(name: str, runs: Runs) -> list[dict[str, Any]]:
    """Judge the runs of one data set of the grid."""
    default, found = runs["default"], []
    if name == "globo-news":
        indexed = [select_queries(run, np.isfinite(run.ranks["exhaustive"])) for run in default]
        for runs_of, text in ((indexed, " of targets that were in the index"), (default, ", all targets")):
            found += [_goal(f"served {figure}{text}", goal, _each(runs_of, figure)) for figure, goal in _NEWS.items()]
        found.append(_goal("recall@200 at 500 scored / exhaustive", 0.99, _each(default, _of_exhaustive)))
    rivals = default[0].baselines
    if name == "kuairand" and "covisitation" in rivals:
        found.append(_goal("served / co-visitation, recall_at_50", 1.2, _each(default, _of_covisitation)))
    if name in _FILMS and "covisitation" in rivals:
        for figure in ("recall_at_20", "recall_at_50"):
            better = compare(default, default, figure=figure, method="served", reference="covisitation")
            found.append(_goal(f"served - co-visitation, {figure}", 0.0, better))
    if "two_tower" in rivals:
        cost = compare(default, default, figure="recall_at_50", method="exhaustive", reference="two_tower")
        found.append(_goal("exhaustive - two-tower without an index, recall_at_50", -0.002, cost))
    if source(name) == "globo-news":
        worst = interval([-float(run.sizes.max() / run.sizes.mean()) for run in default])
        found.append(_goal("fullest node over mean, negated, worst seed", -5.0, _worst(worst)))
        dead = interval([-float((run.sizes == 0).mean()) for run in default])
        found.append(_goal("dead nodes, negated, worst seed", -0.01, _worst(dead)))
    return found + _against_sil(runs) + _monn(runs, name)


def _against_sil(runs: Runs) -> list[dict[str, Any]]:
    """Against periodic k-means on the plain model, with whole nodes and with merge order by traffic, as published."""
    if "sil" not in runs:
        return []
    default, sil, found = runs["default"], runs["sil"], []
    for budget in CURVE_BUDGETS:
        better = compare_columns(default, sil, column=f"merge@{budget}", reference=f"merge_traffic@{budget}", cut=50)
        found.append(_goal(f"merge - k-means + merge by traffic, recall@50 at {budget}", 0.01, better))
    for order in CANDIDATE_ORDERS[2:]:
        for budget in (50, 100, 200):
            better = compare_columns(default, sil, column=f"{order}@{budget}", reference=f"{order}@{budget}", cut=50)
            found.append(_goal(f"{order} - k-means, recall@50 at {budget}", 0.05, better))
    return found


def _monn(runs: Runs, name: str) -> list[dict[str, Any]]:
    """Against the plain dot product, where users and videos have many features."""
    found: list[dict[str, Any]] = []
    if name != "kuairand":
        return found
    for variant in ("cross", "small", "small_cross"):
        if variant in runs:
            better = compare(
                runs[variant], runs["default"], figure="recall_at_50", method="exhaustive", reference="exhaustive"
            )
            found.append(_goal(f"MoNN {variant} - plain dot product, exhaustive recall_at_50", 0.01, better))
    return found


def _goal(text: str, goal: float, found: Interval) -> dict[str, Any]:
    return {"what": text, "goal": goal, **interval_values(found), "verdict": found.verdict(goal)}


def _each(runs: Sequence[Run], of: str | Callable[[Run], float]) -> Interval:
    return interval([figures(run, "served")[of] if isinstance(of, str) else of(run) for run in runs])


def _of_exhaustive(run: Run) -> float:
    return recall(run.ranks["merge@500"], 200) / recall(run.ranks["exhaustive"], 200)


def _of_covisitation(run: Run) -> float:
    return recall(run.ranks["served"], 50) / recall(ranks(run, "covisitation", "recall_at_50"), 50)


def _worst(of: Interval) -> Interval:
    """Let the worst seed stand for the interval."""
    least = min(of.per_seed)
    return Interval(of.mean, least, max(of.per_seed), of.per_seed)
