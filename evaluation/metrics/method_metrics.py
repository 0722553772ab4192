"""Figures of one method in one run: what is computed of its ranks, and at which half-life where it has several."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from hsnn.evaluation.baselines import covisitation, popularity
from hsnn.evaluation.harness.recorder import POPULAR
from hsnn.evaluation.metrics.ranks import mrr, ndcg, recall
from hsnn.evaluation.metrics.run import Run

RARE = POPULAR
"""Targets of this popularity rank or above are shown apart."""

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
_SETTINGS = {"popularity": popularity.HOURS, "popularity_filter": popularity.HOURS, "covisitation": covisitation.HOURS}


def methods(run: Run) -> tuple[str, ...]:
    """Return the names of what was compared, the served path first."""
    return ("served", "exhaustive", *run.baselines)


def columns(method: str) -> tuple[str, ...]:
    """Columns of a method: one, or one per half-life.

    Examples
    --------
    >>> columns("hnsw"), columns("covisitation")[:2]
    (('hnsw',), ('covisitation:1.0', 'covisitation:12.0'))
    """
    return tuple(f"{method}:{hours}" for hours in _SETTINGS[method]) if method in _SETTINGS else (method,)


def best(run: Run, method: str, figure: str) -> str:
    """Choose the column in which a method is best at a figure; it is judged where it is strongest."""
    of = columns(method)
    return of[0] if len(of) == 1 else max(of, key=lambda column: _FIGURES[figure](run, run.ranks[column]))


def ranks(run: Run, method: str, figure: str) -> NDArray[np.float32]:
    """Ranks (queries,) of a method where it is best at a figure."""
    return run.ranks[best(run, method, figure)]


def half_life(run: Run, method: str, figure: str) -> float | None:
    """Hours of the half-life at which a method is best at a figure; None: it never forgets."""
    hours = float(best(run, method, figure).partition(":")[2])
    return hours if np.isfinite(hours) else None


def rare(run: Run) -> NDArray[np.bool_]:
    """Which targets (queries,) are not among the most popular items, at popularity's best half-life."""
    return ranks(run, "popularity", "recall_at_50") >= RARE


def figures(run: Run, method: str) -> dict[str, float]:
    """All figures of a method.

    Those that are better when larger are each at the half-life that is best for that figure, so nothing is won by an
    unlucky choice; rare recall, coverage, popularity share and what was scored are at the one that is best for
    recall@50. Shares are between 0 and 1.
    """
    found = {name: of(run, ranks(run, method, name)) for name, of in _FIGURES.items()}
    column = best(run, method, "recall_at_50")
    popular = popularity.HOURS.index(float(best(run, "popularity", "recall_at_50").partition(":")[2]))
    scored = _scored(run, method, column)
    return found | {
        "rare_recall_at_50": recall(run.ranks[column][rare(run)], 50),
        "coverage": run.coverage[column],
        "popularity_share": float(run.popular[column][popular]),
        "scored": scored,
        "scored_share": scored / float(run.corpus.mean()),
    }


def _scored(run: Run, method: str, column: str) -> float:
    """Item-level evaluations per query."""
    if method in ("popularity", "covisitation"):
        return 0.0
    return float(run.work.get(column, run.corpus).mean())
