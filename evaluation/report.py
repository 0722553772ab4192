"""Figures of a run, for scripts and for people."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.table import Table

from evaluation.errors import NothingMeasuredError
from evaluation.harness import Run
from evaluation.popularity import HOURS
from evaluation.ranks import paired, recall

CUTS = (20, 50)
RARE = 50
"""Targets of this popularity rank or above are shown apart."""

_NAMED = ("served", "exhaustive", "shuffled_index")
_RIVALS = {"popularity": 20, "popularity_filter": 50, "shuffled_index": 50}


def summary(run: Run, budget: int) -> dict[str, Any]:
    """Figures as plain values.

    A rival with a half-life has each figure at the half-life that is best for that figure, so nothing is won by an
    unlucky choice; ``popularity_half_life_hours`` is the best one for recall@20. Shares are between 0 and 1.

    Raises
    ------
    NothingMeasuredError
        The run asked no query.
    """
    if not len(run.scored):
        raise NothingMeasuredError(
            f"no query was asked in {run.events} events, {run.versions} versions of the index: take more events "
            "(trainer.index.seed_after of them pass before there is an index), or ask a larger share of them"
        )
    rare = run.ranks[_best(run, "popularity", 50)] >= RARE
    scored, corpus = float(run.scored.mean()), float(run.corpus.mean())
    methods = {name: _method(run, name, rare) for name in (*_NAMED, "popularity", "popularity_filter")}
    work = {
        "served": scored,
        "exhaustive": corpus,
        "popularity": 0.0,
        "popularity_filter": min(float(budget), corpus),
        "shuffled_index": scored,
    }
    for name, method in methods.items():
        method |= {"scored": work[name], "scored_share": work[name] / corpus}
    return {
        "methods": methods,
        "paired": {f"recall_at_{cut}": {rival: _paired(run, rival, cut) for rival in _RIVALS} for cut in CUTS},
        "popularity_half_life_hours": _hours(_best(run, "popularity", 20)),
        "queries": len(run.scored),
        "rare_target_queries": int(rare.sum()),
        "events": run.events,
        "events_per_second": run.events / run.training_seconds,
        "seconds": run.seconds,
        "index": {
            "items": int(run.sizes.sum()), "nodes": len(run.sizes),
            "max_over_mean": float(run.sizes.max() / run.sizes.mean()),
            "dead": int((run.sizes == 0).sum()), "versions": run.versions, "new": run.arrived, "expired": run.expired,
        },
    }  # fmt: skip


def table(figures: Mapping[str, Any], title: str) -> Table:
    """Render the methods as a table for the terminal; percent."""
    grid = Table(title=title, title_justify="left")
    for name in ("method", "recall@20", "recall@50", f"recall@50, rank ≥ {RARE}", "scored", "of corpus"):
        grid.add_column(name, justify="left" if name == "method" else "right")
    for name, method in figures["methods"].items():
        shares = (method["recall_at_20"], method["recall_at_50"], method["rare_recall_at_50"])
        grid.add_row(
            name.replace("_", " "), *(f"{100 * share:.2f}" for share in shares), f"{method['scored']:.0f}",
            f"{100 * method['scored_share']:.1f}%",
        )  # fmt: skip
    return grid


def sentences(figures: Mapping[str, Any]) -> list[str]:
    """Say what the paired differences mean, one sentence each."""
    found = []
    for rival, cut in _RIVALS.items():
        difference, error = (100 * value for value in figures["paired"][f"recall_at_{cut}"][rival])
        verdict = "above" if difference > 2 * error else "below" if difference < -2 * error else "not told apart from"
        found.append(
            f"served recall@{cut} is {verdict} {rival.replace('_', ' ')}: "
            f"{difference:+.2f} points, paired standard error {error:.2f}"
        )
    return found


def _method(run: Run, name: str, rare: NDArray[np.bool_]) -> dict[str, float]:
    ranks = {cut: run.ranks[_best(run, name, cut)] for cut in CUTS}
    figures = {f"recall_at_{cut}": recall(of_cut, cut) for cut, of_cut in ranks.items()}
    return figures | {"rare_recall_at_50": recall(ranks[50][rare], 50)}


def _best(run: Run, name: str, cut: int) -> str:
    """Choose the rank column of a method: at its best half-life for this cut, where it has one."""
    if name in _NAMED:
        return name
    return max((f"{name}:{hours}" for hours in HOURS), key=lambda column: recall(run.ranks[column], cut))


def _hours(column: str) -> float | None:
    hours = float(column.partition(":")[2])
    return hours if np.isfinite(hours) else None


def _paired(run: Run, rival: str, cut: int) -> tuple[float, float]:
    return paired(run.ranks["served"], run.ranks[_best(run, rival, cut)], cut)
