"""Summary of runs: figures as plain values, and as a table and sentences for the terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from rich import box
from rich.table import Table

from hsnn.evaluation.errors import NothingMeasuredError
from hsnn.evaluation.methods import POPULAR_ITEMS
from hsnn.evaluation.metrics.budget_curves import curves
from hsnn.evaluation.metrics.calibration import calibration, normalised_entropy
from hsnn.evaluation.metrics.method_metrics import best_column, best_half_life, figures, has_rare_target, methods
from hsnn.evaluation.metrics.paired_differences import Interval, compare, interval
from hsnn.evaluation.metrics.ranks import paired_recall_difference
from hsnn.evaluation.metrics.run import Run

# Cuts k of recall@k at which methods are compared within a run.
CUTS = (20, 50)

_COMPARED = ("recall_at_20", "recall_at_50")


def summary(run: Run) -> dict[str, Any]:
    """Summarise one run as plain values; `hsnn.evaluation.metrics.method_metrics.figures` has those of a method.

    ``popularity_half_life_hours`` is the best one for recall@20.

    Raises
    ------
    NothingMeasuredError
        The run has no query.
    """
    if not len(run.scored):
        raise NothingMeasuredError(
            f"no query was asked in {run.events} events, {run.versions} versions of the index: take more events "
            "(trainer.index.seed_after of them pass before there is an index), or ask a larger share of them"
        )
    others = [name for name in methods(run) if name != "served"]
    return {
        "methods": {name: figures(run, name) for name in methods(run)},
        "paired": {f"recall_at_{cut}": {name: _paired(run, name, cut) for name in others} for cut in CUTS},
        "curves": curves(run),
        "popularity_half_life_hours": best_half_life(run, "popularity", "recall_at_20"),
        "queries": len(run.scored),
        "rare_target_queries": int(has_rare_target(run).sum()),
        "events": run.events,
        "events_per_second": run.events / run.training_seconds,
        "seconds": run.seconds,
        "judging_seconds": run.judging_seconds,
        "index": _index(run),
    } | _probabilities(run)


def across(runs: Sequence[Run]) -> dict[str, Any]:
    """Average runs that differ in their seed alone, in the form of `summary`, with the spread over seeds.

    Additional keys: ``seeds``, ``per_seed`` (the summaries), ``intervals`` (of every figure of every method, 95% by
    Student's t) and ``comparisons`` (the served path minus another method, on the same queries). For one seed the ends
    of an interval are None.
    """
    summaries = [summary(run) for run in runs]
    names = methods(runs[0])
    spread = {
        name: {
            figure: interval_values(interval([seed["methods"][name][figure] for seed in summaries]))
            for figure in values
        }
        for name, values in summaries[0]["methods"].items()
    }
    compared = {
        f"served - {name}": {
            figure: interval_values(compare(runs, runs, figure=figure, method="served", reference=name))
            for figure in _COMPARED
        }
        for name in names
        if name != "served"
    }
    # Not averaged: the same for every seed, or only meaningful for one.
    first = {name: summaries[0][name] for name in ("events", "popularity_half_life_hours", "paired")}
    means = {name: _mean([seed[name] for seed in summaries]) for name in summaries[0] if name not in first}
    return means | first | {"seeds": len(runs), "per_seed": summaries, "intervals": spread, "comparisons": compared}


def interval_values(values: Interval) -> dict[str, Any]:
    """Convert an interval to plain values; missing ends become None."""
    mean, low, high, per_seed = values
    return {
        "mean": mean,
        "low": None if np.isnan(low) else low,
        "high": None if np.isnan(high) else high,
        "per_seed": list(per_seed),
    }


def table(figures: Mapping[str, Any], title: str) -> Table:
    """Render the methods as a table for the terminal; percent."""
    shown = {
        "R@20": "recall_at_20",
        "R@50": "recall_at_50",
        "R@200": "recall_at_200",
        "rare": "rare_recall_at_50",
        "fresh": "fresh_6h_recall_at_50",
        "cover": "coverage",
    }
    caption = (
        f"R@50 of targets of popularity rank ≥ {POPULAR_ITEMS} (rare), first seen < 6 h ago (fresh); "
        "of the items (cover)"
    )
    grid = Table(
        title=title,
        title_justify="left",
        caption=caption,
        caption_justify="left",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        collapse_padding=True,
    )
    for name in ("method", *shown, "scored", "share"):
        grid.add_column(name, justify="left" if name == "method" else "right", no_wrap=True)
    for name, method in figures["methods"].items():
        grid.add_row(
            name.replace("_", " "),
            *(percent(method[figure]) for figure in shown.values()),
            f"{method['scored']:.0f}",
            f"{100 * method['scored_share']:.1f}%",
        )
    return grid


def sentences(figures: Mapping[str, Any]) -> list[str]:
    """Describe the paired differences, one sentence per compared method."""
    lines = []
    for name, (difference, error) in figures["paired"]["recall_at_50"].items():
        verdict = "above" if difference > 2 * error else "below" if difference < -2 * error else "not told apart from"
        lines.append(
            f"served recall@50 is {verdict} {name.replace('_', ' ')}: "
            f"{100 * difference:+.2f} points, paired standard error {100 * error:.2f}"
        )
    return lines


def probabilities(figures: Mapping[str, Any]) -> str | None:
    """Describe the quality of the predicted probabilities of shown items; None without impressions."""
    if "probabilities" not in figures:
        return None
    values = figures["probabilities"]
    return (
        f"{values['shown']:,.0f} shown items, probability of the first task: normalised entropy "
        f"{values['normalised_entropy']:.3f} (1: as good as their mean rate, less is better), calibration "
        f"{values['calibration']:.3f} (predicted over observed)"
    )


def percent(share: float | None) -> str:
    """Write a share as percent; a dash where there is none.

    Examples
    --------
    >>> percent(0.1234), percent(None)
    ('12.34', '-')
    """
    return "-" if share is None or np.isnan(share) else f"{100 * share:.2f}"


def _index(run: Run) -> dict[str, Any]:
    sizes = run.sizes
    return {
        "items": int(sizes.sum()),
        "nodes": len(sizes),
        "max_over_mean": float(sizes.max() / sizes.mean()),
        "std_over_mean": float(sizes.std() / sizes.mean()),
        "dead": int((sizes == 0).sum()),
        "dead_share": float((sizes == 0).mean()),
        "churn_per_100k_events": run.churn,
        "traffic_churn_per_100k_events": run.traffic_churn,
        "versions": run.versions,
        "new": run.arrived,
        "expired": run.expired,
    }


def _probabilities(run: Run) -> dict[str, Any]:
    if run.predicted is None or run.engaged is None:
        return {}
    return {
        "probabilities": {
            "normalised_entropy": normalised_entropy(run.predicted, run.engaged),
            "calibration": calibration(run.predicted, run.engaged),
            "shown": len(run.predicted),
        }
    }


def _paired(run: Run, method: str, cut: int) -> tuple[float, float]:
    column = best_column(run, method, f"recall_at_{cut}")
    return paired_recall_difference(run.ranks["served"], run.ranks[column], cut)


def _mean(values: Sequence[Any]) -> Any:
    """Mean of numbers, in nested mappings of one shape; a single value stays as it is."""
    if isinstance(values[0], Mapping):
        return {name: _mean([value[name] for value in values]) for name in values[0]}
    return values[0] if len(values) == 1 else float(np.mean(values))
