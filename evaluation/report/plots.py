"""Plots of a report as SVG files: recall over the stream, recall against items scored, node sizes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hsnn.evaluation.metrics.budget_curves import points
from hsnn.evaluation.metrics.method_metrics import ranks as ranks_of_method
from hsnn.evaluation.metrics.run import Run
from hsnn.evaluation.optional_packages import import_optional

# Points of the plot over the stream.
_BUCKETS = 20

# Milliseconds per day.
_DAY = 86_400_000.0

_COLOURS = {
    "served": "#0b6e4f",
    "exhaustive": "#1d1d1d",
    "popularity": "#c1440e",
    "merge": "#0b6e4f",
    "merge_traffic": "#7fb77e",
    "whole_nodes": "#3b6ea8",
    "whole_nodes_dense": "#8fb3d9",
    "popularity_filter": "#c1440e",
}
# Settings of matplotlib; the fixed salt makes equal plots equal files.
STYLE: dict[str, Any] = {
    "svg.hashsalt": "hsnn",
    "svg.fonttype": "none",
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.25,
    "legend.frameon": False,
    "figure.figsize": (7.0, 3.6),
    "figure.constrained_layout.use": True,
}


# Widths of the first and the last line of a plot, points.
_WIDEST, _THINNEST = 7.0, 1.4


def line_widths(count: int) -> list[float]:
    """Return the widths of lines in the order in which they are drawn: where two coincide, the earlier one shows.

    Examples
    --------
    >>> line_widths(3)
    [7.0, 4.2, 1.4]
    """
    return [round(float(width), 2) for width in np.linspace(_WIDEST, _THINNEST, count)]


def draw(runs: Sequence[Run], figures: Mapping[str, Any], folder: Path, stem: str) -> dict[str, Path]:
    """Draw the plots of runs that differ in their seed into `folder`; return their files by name.

    `figures` is `hsnn.evaluation.report.summary.across` of the runs.

    Raises
    ------
    MissingPackageError
        matplotlib is not installed.
    """
    matplotlib = import_optional("matplotlib", "the report", "matplotlib")
    matplotlib.use("Agg")
    plots = {"stream": _stream, "curves": _curves, "nodes": _nodes}
    files = {}
    with matplotlib.rc_context(STYLE):
        pyplot = import_optional("matplotlib.pyplot", "the report", "matplotlib")
        for name, plot in plots.items():
            figure, axes = pyplot.subplots()
            plot(axes, runs, figures)
            files[name] = folder / f"{stem}-{name}.svg"
            figure.savefig(files[name], metadata={"Date": None})
            pyplot.close(figure)
    return files


def over_stream(run: Run, method: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Recall over time: days since the first query and recall@50, in buckets of as many queries each, (<= 20,) both."""
    hits = ranks_of_method(run, method) < 50
    parts = np.array_split(np.arange(len(hits)), min(_BUCKETS, len(hits)))
    days = (run.ts - run.ts[0]) / _DAY
    return np.array([days[part].mean() for part in parts]), np.array([hits[part].mean() for part in parts])


def _stream(axes: Any, runs: Sequence[Run], figures: Mapping[str, Any]) -> None:
    unit = "hours" if runs[0].ts[-1] - runs[0].ts[0] < 3 * _DAY else "days"
    methods = [name for name in ("exhaustive", "served", "popularity") if name in figures["methods"]]
    for method, width in zip(methods, line_widths(len(methods)), strict=True):
        curves = [over_stream(run, method) for run in runs]
        shortest = min(len(days) for days, _ in curves)
        times = np.mean([days[:shortest] for days, _ in curves], 0) * (24 if unit == "hours" else 1)
        recalls = 100 * np.array([recall[:shortest] for _, recall in curves])  # (seeds, buckets)
        line = "--" if method == "exhaustive" else "-"
        axes.plot(times, recalls.mean(0), line, color=_COLOURS[method], label=method, linewidth=width)
        if len(runs) > 1:
            axes.fill_between(times, recalls.min(0), recalls.max(0), color=_COLOURS[method], alpha=0.12, linewidth=0)
    axes.set(xlabel=f"stream time, {unit} since the first query", ylabel="recall@50, percent", ylim=(0, None))
    axes.legend(ncols=3, loc="lower left")


def _curves(axes: Any, runs: Sequence[Run], figures: Mapping[str, Any]) -> None:
    widths = line_widths(len(figures["curves"]))
    for (name, curve), width in zip(figures["curves"].items(), widths, strict=True):
        shares, recalls = points(curve, "recall_at_50")
        axes.plot(
            100 * np.array(shares),
            100 * np.array(recalls),
            "o-",
            color=_COLOURS[name],
            linewidth=width,
            markersize=4,
            label=name.replace("_", " "),
        )
    served, exhaustive = figures["methods"]["served"], figures["methods"]["exhaustive"]["recall_at_50"]
    axes.axhline(100 * exhaustive, color=_COLOURS["exhaustive"], linestyle="--", linewidth=1.2, label="exhaustive")
    axes.plot(
        100 * served["scored_share"],
        100 * served["recall_at_50"],
        "D",
        color=_COLOURS["served"],
        markersize=8,
        markerfacecolor="none",
        label=f"served, budget {runs[0].budget}",
    )
    axes.set(xlabel="share of the retrievable items that is scored, percent", ylabel="recall@50, percent", xscale="log")
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.xaxis.set_minor_formatter(lambda value, _: f"{value:g}" if f"{value:e}"[0] in "25" else "")
    axes.legend(loc="lower right")


def _nodes(axes: Any, runs: Sequence[Run], figures: Mapping[str, Any]) -> None:
    sizes = np.sort(np.stack([run.sizes for run in runs]), 1)[:, ::-1]  # (seeds, K)
    ranks = np.arange(1, sizes.shape[1] + 1)
    axes.fill_between(ranks, sizes.mean(0), color=_COLOURS["served"], alpha=0.35, linewidth=0, step="mid")
    axes.axhline(sizes.mean(), color=_COLOURS["exhaustive"], linewidth=1, linestyle="--")
    axes.annotate("mean", (ranks[-1], sizes.mean()), ha="right", va="bottom")
    dead = figures["index"]["dead_share"]
    axes.set(
        xlabel="nodes, fullest first",
        ylabel="items",
        xlim=(1, len(ranks)),
        ylim=(0, None),
        title=f"fullest over mean {figures['index']['max_over_mean']:.1f}, dead {100 * dead:.0f}%",
    )
