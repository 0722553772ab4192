"""Report of an evaluation: a Markdown file with its plots beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hsnn.evaluation.methods import ENGINE_K, POPULAR_ITEMS
from hsnn.evaluation.metrics.run import Run
from hsnn.evaluation.report.plots import draw
from hsnn.evaluation.report.summary import percent, probabilities, shortfalls

# Figures by the headings of their columns.
_COLUMNS = {
    "R@20": "recall_at_20",
    "R@50": "recall_at_50",
    "R@200": "recall_at_200",
    "NDCG@20": "ndcg_at_20",
    "MRR": "mrr",
    "fresh 6 h": "fresh_6h_recall_at_50",
    "fresh 24 h": "fresh_24h_recall_at_50",
    "rare": "rare_recall_at_50",
    "coverage": "coverage",
    "popular": "popularity_share",
    "best R@20": "hindsight_recall_at_20",
    "best R@50": "hindsight_recall_at_50",
}


def write(path: Path, runs: Sequence[Run], figures: Mapping[str, Any], title: str) -> list[Path]:
    """Write the report of runs that differ in their seed, and its plots, named after it; return the files.

    `figures` is `hsnn.evaluation.report.summary.across` of the runs.

    Raises
    ------
    MissingPackageError
        matplotlib is not installed.
    """
    plots = draw(runs, figures, path.parent, path.stem)
    quality = probabilities(figures)
    parts = [
        f"# {title}",
        _shortfalls(figures),
        _introduction(figures),
        methods_table(figures["methods"]),
        _legend(),
        *([] if quality is None else ["## Probabilities", f"{quality}."]),
        "## Differences",
        comparisons_table(figures),
        "## Over the stream",
        _image(plots["stream"], "recall over time"),
        "## What is scored, and what it finds",
        _image(plots["curves"], "recall against the share scored"),
        curves_table(figures["curves"]),
        "## The index",
        _index(figures),
        _image(plots["nodes"], "node sizes"),
    ]
    path.write_text("\n\n".join(parts) + "\n", "utf-8")
    return [path, *plots.values()]


def methods_table(methods: Mapping[str, Mapping[str, float]]) -> str:
    """Make the table of methods, one row each; percent."""
    rows = [
        [
            name.replace("_", " "),
            *(percent(figures[key]) for key in _COLUMNS.values()),
            f"{figures['scored']:.0f}",
            f"{100 * figures['scored_share']:.1f}%",
            f"{100 * figures['dots_share']:.1f}%",
        ]
        for name, figures in methods.items()
    ]
    return grid(["method", *_COLUMNS, "scored", "share", "dots"], rows)


def comparisons_table(figures: Mapping[str, Any]) -> str:
    """Make the table of differences, served minus each method, in points: mean over the seeds, 95% interval, seeds."""
    rows = []
    for pair, differences in figures["comparisons"].items():
        for figure, difference in differences.items():
            ends = (
                "-"
                if difference["low"] is None
                else f"{100 * difference['low']:+.2f} to {100 * difference['high']:+.2f}"
            )
            seeds = ", ".join(f"{100 * value:+.2f}" for value in difference["per_seed"])
            name = pair.replace("_", " ")
            rows.append([name, figure.replace("_at_", "@"), f"{100 * difference['mean']:+.2f}", ends, seeds])
    return grid(["difference", "figure", "points", "95% interval", "per seed"], rows)


def curves_table(curves: Mapping[str, Mapping[str, Mapping[str, float]]]) -> str:
    """Make the table of recall@50 by order and budget; percent."""
    budgets = list(next(iter(curves.values())))
    rows = [
        [name.replace("_", " "), *(percent(curve[budget]["recall_at_50"]) for budget in budgets)]
        for name, curve in curves.items()
    ]
    return grid(["recall@50 at a budget of", *budgets], rows)


def grid(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Format a Markdown table, the first column left-aligned, the others right-aligned.

    Examples
    --------
    >>> print(grid(["a", "b"], [["x", "1"]]))
    | a | b |
    |---|--:|
    | x | 1 |
    """
    lines = [f"| {' | '.join(row)} |" for row in (head, *rows)]
    return "\n".join([lines[0], "|---" + "|--:" * (len(head) - 1) + "|", *lines[1:]])


def _shortfalls(figures: Mapping[str, Any]) -> str:
    first, *others = shortfalls(figures)
    return (
        "\n".join([first, *(f"- {other}" for other in others)])
        if not others
        else "\n\n".join([first, "\n".join(f"- {other}" for other in others)])
    )


def _introduction(figures: Mapping[str, Any]) -> str:
    settings = ", ".join(f"{name.replace('_', ' ')} {setting}" for name, setting in figures["settings"].items())
    return (
        f"{figures['events']:,} events in order, a sample of them queried before being learned; "
        f"{figures['queries']:,.0f} queries per seed, {figures['seeds']} seed(s). "
        f"{figures['events_per_second']:,.0f} events/s learned. Settings, chosen on queries before these: {settings}."
    )


def _legend() -> str:
    return (
        "Percent. **fresh**: recall@50 of targets first seen less than so many hours ago. **rare**: recall@50 of "
        f"targets that are not among the {POPULAR_ITEMS} most popular items. **coverage**: share of the retrievable "
        "items that were in some answer's first 20. **popular**: share of an answer's first 20 that is among the "
        f"{POPULAR_ITEMS} most popular. **best**: under the setting that turned out best for the figure, which nobody "
        "could have chosen. **scored**: items that the model scores per request, and their share of all. "
        "**dots**: dot products made to choose those, as a share of the retrievable items. **frozen 1h**: the served "
        "path on a copy that stands still for up to an hour. **engine**: the served path with whole nodes, as servers "
        f"with the compiled engine open them for an answer of {ENGINE_K}: what comes after these is not found."
    )


def _index(figures: Mapping[str, Any]) -> str:
    index = figures["index"]
    churn = (index["churn_per_100k_events"], index["traffic_churn_per_100k_events"])
    return (
        f"{index['items']:,.0f} items in {index['nodes']:.0f} nodes at the end; fullest over mean "
        f"{index['max_over_mean']:.2f}, deviation over mean {index['std_over_mean']:.2f}, "
        f"{100 * index['dead_share']:.1f}% dead. {index['versions']:.0f} versions; from one to the next an item "
        f"changed its node {churn[0]:.2f} times per 100,000 events, weighted by traffic {churn[1]:.2f} times. "
        f"{index['new']:,.0f} items arrived and {index['expired']:,.0f} left between versions."
    )


def _image(path: Path, text: str) -> str:
    return f"![{text}]({path.name})"
