"""What ``hsnn up`` shows: one panel on a terminal, else lines."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from rich import box
from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from hsnn.demo.figures import Figures

_COLOURS = {"ready": "green", "running": "green", "starting": "yellow", "ended": "bold red"}


class RoleRow(NamedTuple):
    """One line of the table of processes: `state` is ready, running, starting or ended; `seconds` since the start."""

    name: str
    state: str
    seconds: float
    restarts: int
    address: str


def render(
    title: str, addresses: dict[str, str], roles: Sequence[RoleRow], figures: Figures, said: Sequence[str]
) -> RenderableType:
    """Render addresses, processes, figures and what was said last as one panel; 80 columns are enough."""
    where = Table.grid(padding=(0, 2))
    for name, address in addresses.items():
        where.add_row(Text(name, style="bold"), Text(address, overflow="fold"))
    table = Table(box=None, pad_edge=False, expand=True)
    for column in ("process", "state", "since", "restarts", "metrics and health"):
        table.add_column(column, justify="right" if column in ("since", "restarts") else "left")
    for role in roles:
        state = Text(role.state, style=_COLOURS.get(role.state, ""))
        cells = (role.name, state, duration(role.seconds), str(role.restarts), Text(role.address))
        table.add_row(*cells)
    rows: list[RenderableType] = [where, Text(), table, Text(), Text(figures_text(figures)), Text()]
    rows += [Text(text, style="dim", overflow="ellipsis", no_wrap=True) for text in said]
    return Panel(Group(*rows), title=f"[b]hsnn up[/] · {title}", subtitle="Ctrl+C stops, data is kept", box=box.ROUNDED)


def figures_text(figures: Figures) -> str:
    """Write the figures as a sentence.

    Examples
    --------
    >>> figures_text(Figures(trained=1200, rate=35.0))
    '1,200 events learned, 35/s, lag 0; no version of the index yet'
    """
    index = figures.index
    version = f"version {index.version}, {index.items:,} items" if index.version else "no version of the index yet"
    lost = sum(figures.dropped.values()) + figures.dead_lettered
    dropped = f", {lost:,} dropped or unreadable" if lost else ""
    served = figures.recent.get("recall_at_20", {})
    recall = f"; recall@20 {served['served']:.1%}, popularity {served['popularity']:.1%}" if served else ""
    return (
        f"{figures.trained:,} events learned{dropped}, {figures.rate:,.0f}/s, lag {figures.lag_records:,}; {version}"
        f"{recall}"
    )


def duration(seconds: float) -> str:
    """Write a time span in whole numbers of its largest unit.

    Examples
    --------
    >>> duration(5.2), duration(200), duration(7300)
    ('5 s', '3 min', '2 h')
    """
    for unit, size in (("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"{int(seconds // size)} {unit}"
    return f"{int(seconds)} s"
