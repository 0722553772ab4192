"""Curves of recall against scoring budget, for every candidate order."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from hsnn.evaluation.methods import CANDIDATE_ORDERS
from hsnn.evaluation.metrics.method_metrics import chosen_column
from hsnn.evaluation.metrics.ranks import recall
from hsnn.evaluation.metrics.run import Run

# Cuts k of recall@k.
CUTS = (20, 50, 200)

Curve = dict[str, dict[str, float]]
"""Figures by budget."""


def curves(run: Run) -> dict[str, Curve]:
    """Recall and items scored by order and budget; the popularity filter at its chosen half-life.

    All of them use the scores of the served model at the time of each query. ``merge`` at the served budget is the
    served path.
    """
    recorded = {column.partition("@")[0] for column in run.ranks if "@" in column}
    names = [order for order in CANDIDATE_ORDERS if order in recorded]
    names += ["popularity_filter"] if "popularity_filter" in run.baselines and names else []
    return {name: {str(budget): _point(run, name, budget) for budget in budgets(run)} for name in names}


def budgets(run: Run) -> list[int]:
    """Budgets of the run's curves, ascending."""
    return sorted(int(name.partition("@")[2]) for name in run.ranks if name.startswith("merge@"))


def _point(run: Run, name: str, budget: int) -> dict[str, float]:
    column = f"{chosen_column(run, name)}@{budget}"
    figures = {f"recall_at_{cut}": recall(run.ranks[column], cut) for cut in CUTS}
    scored = run.work.get(column, np.minimum(budget, run.corpus)).mean()
    return figures | {"scored": float(scored), "scored_share": float(scored / run.corpus.mean())}


def points(curve: Mapping[str, Mapping[str, float]], figure: str) -> tuple[list[float], list[float]]:
    """Points of one curve in order of budget: shares of the items scored, and a figure.

    Examples
    --------
    >>> points({"50": {"scored_share": 0.1, "recall_at_50": 0.2}}, "recall_at_50")
    ([0.1], [0.2])
    """
    return [point["scored_share"] for point in curve.values()], [point[figure] for point in curve.values()]
