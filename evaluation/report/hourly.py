"""Summary of the hourly session protocol for the terminal; figures are those of `hsnn.evaluation.metrics.hourly`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich import box
from rich.table import Table

from hsnn.evaluation.report.summary import percent


def hourly_shortfalls(mode: str, figures: Mapping[str, Any]) -> list[str]:
    """Say where the served path is behind a baseline in one mode, or that it is behind none."""
    behind = [one for one in figures["comparisons"] if one["behind"]]
    if not behind:
        return [f"{mode}: the served path is behind no baseline ({len(figures['comparisons'])} comparisons, Holm)."]
    return [
        f"{mode}: the served path is BEHIND {one['method']}, {one['figure'].replace('_at_', '@')}: "
        f"{100 * one['mean']:+.2f} points, 95% over the hours {100 * one['low']:+.2f} to {100 * one['high']:+.2f}"
        for one in behind
    ]


def hourly_table(mode: str, figures: Mapping[str, Any], name: str) -> Table:
    """Render the figures of one mode as a table for the terminal; percent."""
    title = f"{name}, {mode}: {figures['targets']:,} sessions in {figures['hours']} hours; percent, mean over the hours"
    grid = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for column in ("method", "HR@20", "NDCG@20", "best HR@20"):
        grid.add_column(column, justify="left" if column == "method" else "right", no_wrap=True)
    for method, values in figures["methods"].items():
        cells = (values["hr_at_20"], values["ndcg_at_20"], values["hindsight_hr_at_20"])
        grid.add_row(method, *map(percent, cells))
    return grid
