"""Figures of one method in one run, under the setting that was chosen on earlier queries where it has several."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from hsnn.evaluation.methods import MODEL_METHODS, POPULAR_ITEMS, POPULARITY_HALF_LIVES
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


_COMPARED = ("recall_at_20", "recall_at_50")
"""Figures that are also given under the setting that is best for them in hindsight."""


def methods(run: Run) -> tuple[str, ...]:
    """Names of the compared methods, the served path first."""
    return (*MODEL_METHODS, *run.baselines)


def columns(run: Run, method: str) -> list[str]:
    """Columns of a method: one, or one per setting."""
    return [name for name in run.ranks if name.partition(":")[0] == method and "@" not in name]


def chosen_column(run: Run, method: str) -> str:
    """Column of a method under the setting that was chosen on queries before the measured ones."""
    return run.chosen.get(method, method)


def hindsight_column(run: Run, method: str, figure: str) -> str:
    """Column in which a method turned out to be best at a figure: what no choice could have beaten."""
    asked = _all_asked(run, method)
    return max(columns(run, method), key=lambda column: _FIGURES[figure](run, run.ranks[column][asked]))


def _all_asked(run: Run, method: str) -> NDArray[np.bool_]:
    """Which queries (queries,) were answered under all settings."""
    missing = np.isnan(np.stack([run.ranks[column] for column in columns(run, method)]))  # (settings, queries)
    asked: NDArray[np.bool_] = np.logical_not(np.logical_or.reduce(missing))
    return asked


def _hindsight(run: Run, method: str, figure: str) -> float:
    """Figure under the best setting in hindsight: the chosen one's, plus what the best gains where all were asked."""
    chosen, compute = run.ranks[chosen_column(run, method)], _FIGURES[figure]
    best, asked = run.ranks[hindsight_column(run, method, figure)], _all_asked(run, method)
    if asked.all():
        return compute(run, best)
    return compute(run, chosen) + compute(run, best[asked]) - compute(run, chosen[asked])


def ranks(run: Run, method: str) -> NDArray[np.float32]:
    """Ranks (queries,) of a method under its chosen setting."""
    return run.ranks[chosen_column(run, method)]


def chosen_half_life(run: Run) -> float | None:
    """Half-life of popularity in hours that was chosen; None: no decay."""
    hours = float(chosen_column(run, "popularity").partition(":")[2])
    return hours if np.isfinite(hours) else None


def has_rare_target(run: Run) -> NDArray[np.bool_]:
    """Which queries (queries,) have a target that is not a popular item, at popularity's chosen half-life."""
    return ranks(run, "popularity") >= POPULAR_ITEMS


def figures(run: Run, method: str) -> dict[str, float]:
    """Compute all figures of a method; shares are between 0 and 1.

    ``hindsight_...`` are under the setting that was best for them on the measured queries themselves; they cannot be
    had in advance, and show how much the choice cost.
    """
    column = chosen_column(run, method)
    chosen = run.ranks[column]
    half_life = POPULARITY_HALF_LIVES.index(float(chosen_column(run, "popularity").partition(":")[2]))
    # Before the first batch is learned nothing is retrievable: a very young stream may have no item in any query.
    scored, corpus = _scored(run, method, column), max(float(run.corpus.mean()), 1.0)
    dots = float(run.dots[column].mean()) if column in run.dots else 0.0
    return {
        **{name: figure(run, chosen) for name, figure in _FIGURES.items()},
        **{f"hindsight_{name}": _hindsight(run, method, name) for name in _COMPARED},
        "rare_recall_at_50": recall(chosen[has_rare_target(run)], 50),
        "coverage": run.coverage[column],
        "popularity_share": float(run.popular[column][half_life]),
        "scored": scored,
        "scored_share": scored / corpus,
        "dots": dots,
        "dots_share": dots / corpus,
    }


def _scored(run: Run, method: str, column: str) -> float:
    """Items scored per query."""
    if method in run.counting or method == "popularity":
        return 0.0
    return float(run.work.get(column, run.corpus).mean())
