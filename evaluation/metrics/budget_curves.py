"""What the orders of `hsnn.evaluation.harness.candidate_orders` find at several budgets."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from hsnn.evaluation.baselines.popularity import HOURS
from hsnn.evaluation.metrics.ranks import recall
from hsnn.evaluation.metrics.run import Run

CUTS = (20, 50, 200)
ORDERS = ("merge", "merge_traffic", "whole_nodes", "whole_nodes_dense")
Curve = dict[str, dict[str, float]]


def curves(run: Run) -> dict[str, Curve]:
    """Recall and what was scored by order and budget; the popularity filter at the half-life best for each figure.

    The same scores are behind all of them: the served model's, at the time of each query. ``merge`` at the served
    budget is what the served path does.
    """
    found = {column.partition("@")[0] for column in run.ranks if "@" in column}
    names = [order for order in ORDERS if order in found]
    names += ["popularity_filter"] if "popularity_filter" in run.baselines else []
    return {name: {str(budget): _point(run, name, budget) for budget in budgets(run)} for name in names}


def budgets(run: Run) -> list[int]:
    """Budgets of the run's curves, in order."""
    return sorted(int(name.partition("@")[2]) for name in run.ranks if name.startswith("merge@"))


def _point(run: Run, name: str, budget: int) -> dict[str, float]:
    columns = [f"{name}@{budget}"] if name != "popularity_filter" else [f"{name}:{hours}@{budget}" for hours in HOURS]
    found = {f"recall_at_{cut}": max(recall(run.ranks[column], cut) for column in columns) for cut in CUTS}
    scored = run.work.get(columns[0], np.minimum(budget, run.corpus)).mean()
    return found | {"scored": float(scored), "scored_share": float(scored / run.corpus.mean())}


def points(curve: Mapping[str, Mapping[str, float]], figure: str) -> tuple[list[float], list[float]]:
    """Shares scored and a figure of one curve, in order of budget.

    Examples
    --------
    >>> points({"50": {"scored_share": 0.1, "recall_at_50": 0.2}}, "recall_at_50")
    ([0.1], [0.2])
    """
    return [point["scored_share"] for point in curve.values()], [point[figure] for point in curve.values()]
