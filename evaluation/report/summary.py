"""Summary of runs: figures as plain values, and as a table and sentences for the terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from rich import box
from rich.table import Table

from hsnn.evaluation.errors import NothingMeasuredError
from hsnn.evaluation.methods import POPULAR_ITEMS
from hsnn.evaluation.metrics.budget_curves import curves
from hsnn.evaluation.metrics.calibration import calibration, normalised_entropy
from hsnn.evaluation.metrics.method_metrics import chosen_half_life, figures, has_rare_target, methods, ranks
from hsnn.evaluation.metrics.paired_differences import Interval, compare, interval
from hsnn.evaluation.metrics.ranks import paired_recall_difference
from hsnn.evaluation.metrics.run import Run
from hsnn.evaluation.metrics.shortfalls import LEVEL, differences

# Cuts k of recall@k at which methods are compared within a run.
CUTS = (20, 50)

# Figures that methods are compared by.
_COMPARED = ("recall_at_20", "recall_at_50")


def summary(run: Run) -> dict[str, Any]:
    """Summarise one run as plain values; `hsnn.evaluation.metrics.method_metrics.figures` has those of a method.

    ``popularity_half_life_hours`` and ``settings`` were chosen on queries before the measured ones.

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
        "popularity_half_life_hours": chosen_half_life(run),
        "settings": {name: column.partition(":")[2] for name, column in run.chosen.items() if ":" in column},
        "costs_seconds": run.costs | {"training": run.training_seconds},
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
    Student's t), ``comparisons`` (the served path minus another method, on the same queries) and ``shortfalls``
    (the number of comparisons with baselines, and those in which the served path is behind, corrected for that number).
    For one seed the ends of an interval are None.
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
    first = {name: summaries[0][name] for name in ("events", "popularity_half_life_hours", "settings", "paired")}
    table = differences({"": runs}, {"": runs[0].baselines})
    behind = {"comparisons": len(table), "behind": [asdict(one) for one in table if one.behind]}
    means = {name: _mean([seed[name] for seed in summaries]) for name in summaries[0] if name not in first}
    return (
        means
        | first
        | {"seeds": len(runs), "per_seed": summaries, "intervals": spread}
        | {
            "comparisons": compared,
            "shortfalls": behind,
        }
    )


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
        "of the items (cover); R@50 under the setting that is best in hindsight (best); items scored, and dot products "
        "made to choose them (dots), as shares of the retrievable ones"
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
    for name in ("method", *shown, "best", "scored", "share", "dots"):
        grid.add_column(name, justify="left" if name == "method" else "right", no_wrap=True)
    for name, method in figures["methods"].items():
        grid.add_row(
            name.replace("_", " "),
            *(percent(method[figure]) for figure in shown.values()),
            percent(method["hindsight_recall_at_50"]),
            f"{method['scored']:.0f}",
            f"{100 * method['scored_share']:.1f}%",
            f"{100 * method['dots_share']:.1f}%",
        )
    return grid


def shortfalls(figures: Mapping[str, Any]) -> list[str]:
    """Say where the served path is behind which baseline, or that it is behind none: one sentence each."""
    found = figures["shortfalls"]
    corrected = f"{found['comparisons']} comparisons with baselines, Holm-corrected at {LEVEL:.0%}"
    if not found["behind"]:
        return [f"The served path is behind no baseline ({corrected})."]
    lines = [f"The served path is BEHIND in {len(found['behind'])} of {corrected}:"]
    for one in sorted(found["behind"], key=lambda one: one["mean"]):
        name, figure = one["method"].replace("_", " "), one["figure"].replace("_at_", "@")
        lines.append(
            f"{name}, {figure}: {100 * one['mean']:+.2f} points, "
            f"95% interval {100 * one['low']:+.2f} to {100 * one['high']:+.2f}"
        )
    return lines


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
        "max_over_mean": float(sizes.max() / sizes.mean()) if len(sizes) else float("nan"),
        "std_over_mean": float(sizes.std() / sizes.mean()) if len(sizes) else float("nan"),
        "dead": int((sizes == 0).sum()),
        "dead_share": float((sizes == 0).mean()) if len(sizes) else float("nan"),
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
    return paired_recall_difference(run.ranks["served"], ranks(run, method), cut)


def _mean(values: Sequence[Any]) -> Any:
    """Mean of numbers, in nested mappings, of what all of them have; a single value stays as it is."""
    if isinstance(values[0], Mapping):
        common = [name for name in values[0] if all(name in value for value in values)]
        return {name: _mean([value[name] for value in values]) for name in common}
    return values[0] if len(values) == 1 else float(np.mean(values))
