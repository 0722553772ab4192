"""Figures of one method in one run, at the best of its half-lives where it has several."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from hsnn.evaluation.methods import POPULAR_ITEMS, POPULARITY_HALF_LIVES, columns
from hsnn.evaluation.metrics.ranks import mrr, ndcg, recall
from hsnn.evaluation.metrics.run import Run

# Milliseconds per hour; ages of targets are in ms.
_HOUR = 3_600_000

_RANKS = NDArray[np.float32]
_FIGURES: dict[str, Callable[[Run, _RANKS], float]] = {
    "recall_at_20": lambda _, ranks: recall(ranks, 20),
    "recall_at_50": lambda _, ranks: recall(ranks, 50),
    "recall_at_200": lambda _, ranks: recall(ranks, 200),
    "ndcg_at_20": lambda _, ranks: ndcg(ranks, 20),
    "mrr": lambda _, ranks: mrr(ranks),
    "fresh_6h_recall_at_50": lambda run, ranks: recall(ranks[run.age < 6 * _HOUR], 50),
    "fresh_24h_recall_at_50": lambda run, ranks: recall(ranks[run.age < 24 * _HOUR], 50),
}
"""Figures that are functions of the ranks alone; all of them are better when larger."""


def methods(run: Run) -> tuple[str, ...]:
    """Names of the compared methods, the served path first."""
    return ("served", "exhaustive", *run.baselines)


def best_column(run: Run, method: str, figure: str) -> str:
    """Choose the column in which a method is best at a figure: a baseline is compared at its strongest."""
    candidates = columns(method)
    if len(candidates) == 1:
        return candidates[0]
    return max(candidates, key=lambda column: _FIGURES[figure](run, run.ranks[column]))


def ranks(run: Run, method: str, figure: str) -> NDArray[np.float32]:
    """Ranks (queries,) of a method in its best column for a figure."""
    return run.ranks[best_column(run, method, figure)]


def best_half_life(run: Run, method: str, figure: str) -> float | None:
    """Half-life in hours at which a method is best at a figure; None: no decay."""
    hours = float(best_column(run, method, figure).partition(":")[2])
    return hours if np.isfinite(hours) else None


def has_rare_target(run: Run) -> NDArray[np.bool_]:
    """Which queries (queries,) have a target that is not a popular item, at popularity's best half-life."""
    return ranks(run, "popularity", "recall_at_50") >= POPULAR_ITEMS


def figures(run: Run, method: str) -> dict[str, float]:
    """Compute all figures of a method; shares are between 0 and 1.

    Figures of ranks are each taken at the half-life that is best for them, so that no baseline loses by an unlucky
    choice. Rare recall, coverage, popularity share and items scored are taken at the half-life best for recall@50.
    """
    computed = {name: figure(run, ranks(run, method, name)) for name, figure in _FIGURES.items()}
    column = best_column(run, method, "recall_at_50")
    half_life = POPULARITY_HALF_LIVES.index(float(best_column(run, "popularity", "recall_at_50").partition(":")[2]))
    scored = _scored(run, method, column)
    return computed | {
        "rare_recall_at_50": recall(run.ranks[column][has_rare_target(run)], 50),
        "coverage": run.coverage[column],
        "popularity_share": float(run.popular[column][half_life]),
        "scored": scored,
        "scored_share": scored / float(run.corpus.mean()),
    }


def _scored(run: Run, method: str, column: str) -> float:
    """Items scored per query."""
    if method in ("popularity", "covisitation"):
        return 0.0
    return float(run.work.get(column, run.corpus).mean())
