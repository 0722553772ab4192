"""Figures of runs, for scripts and for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from rich import box
from rich.table import Table

from hsnn.evaluation.errors import NothingMeasuredError
from hsnn.evaluation.metrics.budget_curves import curves
from hsnn.evaluation.metrics.calibration import calibration, normalised_entropy
from hsnn.evaluation.metrics.method_metrics import RARE, best, figures, half_life, methods, rare
from hsnn.evaluation.metrics.paired_differences import Interval, compare, interval
from hsnn.evaluation.metrics.ranks import paired
from hsnn.evaluation.metrics.run import Run

CUTS = (20, 50)
_COMPARED = ("recall_at_20", "recall_at_50")


def summary(run: Run) -> dict[str, Any]:
    """Figures of one run as plain values; see `hsnn.evaluation.metrics.method_metrics.figures` for those of a method.

    ``popularity_half_life_hours`` is the best one for recall@20.

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
    rivals = [name for name in methods(run) if name != "served"]
    return {
        "methods": {name: figures(run, name) for name in methods(run)},
        "paired": {f"recall_at_{cut}": {rival: _paired(run, rival, cut) for rival in rivals} for cut in CUTS},
        "curves": curves(run),
        "popularity_half_life_hours": half_life(run, "popularity", "recall_at_20"),
        "queries": len(run.scored),
        "rare_target_queries": int(rare(run).sum()),
        "events": run.events,
        "events_per_second": run.events / run.training_seconds,
        "seconds": run.seconds,
        "judging_seconds": run.judging_seconds,
        "index": _index(run),
    } | _probabilities(run)


def across(runs: Sequence[Run]) -> dict[str, Any]:
    """Means over runs that differ in their seed alone, in the form of `summary`, and what is known of their spread.

    Beside them: ``seeds``, ``per_seed`` (the summaries), ``intervals`` (of every figure of every method, 95% by
    Student's t) and ``comparisons`` (the served path minus a rival, on the same queries). Ends are None for one seed.
    """
    each = [summary(run) for run in runs]
    names = methods(runs[0])
    spread = {
        name: {figure: plain(interval([one["methods"][name][figure] for one in each])) for figure in values}
        for name, values in each[0]["methods"].items()
    }
    compared = {
        f"served - {rival}": {figure: plain(compare(runs, runs, figure, "served", rival)) for figure in _COMPARED}
        for rival in names
        if rival != "served"
    }
    whole = {name: each[0][name] for name in ("events", "popularity_half_life_hours", "paired")}
    means = {name: _mean([one[name] for one in each]) for name in each[0] if name not in whole}
    return means | whole | {"seeds": len(runs), "per_seed": each, "intervals": spread, "comparisons": compared}


def plain(found: Interval) -> dict[str, Any]:
    """Write an interval as plain values; ends that there are none of become None."""
    mean, low, high, per_seed = found
    return {
        "mean": mean,
        "low": None if np.isnan(low) else low,
        "high": None if np.isnan(high) else high,
        "per_seed": list(per_seed),
    }


def table(found: Mapping[str, Any], title: str) -> Table:
    """Render the methods as a table for the terminal; percent."""
    shown = {
        "R@20": "recall_at_20",
        "R@50": "recall_at_50",
        "R@200": "recall_at_200",
        "rare": "rare_recall_at_50",
        "fresh": "fresh_6h_recall_at_50",
        "cover": "coverage",
    }
    caption = f"R@50 of targets of popularity rank ≥ {RARE} (rare), first seen < 6 h ago (fresh); of the items (cover)"
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
    for name, method in found["methods"].items():
        grid.add_row(
            name.replace("_", " "),
            *(percent(method[figure]) for figure in shown.values()),
            f"{method['scored']:.0f}",
            f"{100 * method['scored_share']:.1f}%",
        )
    return grid


def sentences(found: Mapping[str, Any]) -> list[str]:
    """Say what the paired differences mean, one sentence per rival."""
    said = []
    for rival, (difference, error) in found["paired"]["recall_at_50"].items():
        verdict = "above" if difference > 2 * error else "below" if difference < -2 * error else "not told apart from"
        said.append(
            f"served recall@50 is {verdict} {rival.replace('_', ' ')}: "
            f"{100 * difference:+.2f} points, paired standard error {100 * error:.2f}"
        )
    return said


def probabilities(found: Mapping[str, Any]) -> str | None:
    """Say how good the predicted probabilities of shown items are; None where no impressions tell."""
    if "probabilities" not in found:
        return None
    values = found["probabilities"]
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


def _paired(run: Run, rival: str, cut: int) -> tuple[float, float]:
    return paired(run.ranks["served"], run.ranks[best(run, rival, f"recall_at_{cut}")], cut)


def _mean(values: Sequence[Any]) -> Any:
    """Mean of numbers, in nested mappings of one shape; a single value stays as it is."""
    if isinstance(values[0], Mapping):
        return {name: _mean([value[name] for value in values]) for name in values[0]}
    return values[0] if len(values) == 1 else float(np.mean(values))
