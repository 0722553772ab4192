"""The report of an import, for a terminal and as a page of HTML."""

from __future__ import annotations

import io
from html import escape
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from hsnn.cli.formatting import time_span, utc
from hsnn.streaming.datasets.imported.report import ImportReport, Profile

# Columns of the page: wide enough for paths and reasons, narrow enough for a screen.
_PAGE_WIDTH = 140

_PAGE = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>{{stylesheet}} body {{{{ margin: 2rem; color: {{foreground}}; background: {{background}}; }}}}
pre {{{{ font-family: ui-monospace, Menlo, Consolas, monospace; overflow-x: auto; }}}}</style></head>
<body><h1>{title}</h1><pre><code>{{code}}</code></pre></body></html>
"""


def print_report(report: ImportReport, console: Console) -> None:
    """Print the files, the rows that were left out, the figures and the settings that they suggest."""
    if report.guessed:
        console.print("The columns were guessed by their names:", style="bold")
        console.print(Text(report.map), highlight=False)
    console.print(_files(report))
    if report.refusals or report.duplicates or report.dangling:
        console.print(_refusals(report))
    console.print(_figures(report.profile))
    console.print(_advice(report))


def write_html(report: ImportReport, path: Path) -> None:
    """Write the report as a page that needs nothing else.

    Raises
    ------
    OSError
        The file cannot be written.
    """
    console = Console(record=True, width=_PAGE_WIDTH, file=io.StringIO(), force_terminal=True)
    print_report(report, console)
    names = sorted({file.file for file in report.files})
    title = escape(f"hsnn data: {', '.join(names)}").replace("{", "{{").replace("}", "}}")
    path.write_text(console.export_html(code_format=_PAGE.format(title=title)), "utf-8")


def _files(report: ImportReport) -> Table:
    table = Table(*("file", "read as", "rows", "taken", "how"), title="Files")
    for file in report.files:
        how = "\n".join(file.notes) or "as it is"
        table.add_row(*(Text(file.file), file.kind, f"{file.rows:,}", f"{file.taken:,}", Text(how)))
    return table


def _refusals(report: ImportReport) -> Table:
    table = Table(*("what", "rows", "first at", "there", ""), title="Left out")
    for refusal in report.refusals:
        place = f"{refusal.file}:{refusal.line}"
        fate = "kept without it" if refusal.kept else "left out"
        example = Text(repr(refusal.example) if refusal.example else "(empty)")
        table.add_row(*(Text(refusal.reason), f"{refusal.count:,}", Text(place), example, fate))
    for count, text, fate in (
        (report.duplicates, "an event of the same id, user, item and action came before", "left out"),
        (report.dangling, "names an impression that there is none of", "kept without it"),
    ):
        if count:
            table.add_row(*(text, f"{count:,}", "", "", fate))
    return table


def _figures(profile: Profile) -> Table:
    table = Table("", "", title="What would be learned", show_header=False)
    actions = ", ".join(f"{name} {count:,}" for name, count in profile.actions.items())
    span = time_span((profile.last - profile.first) / 1000)
    table.add_row("events", Text(f"{profile.events:,}: {actions}"))
    table.add_row("time", f"{utc(profile.first)} to {utc(profile.last)} UTC, {span}")
    table.add_row("users", f"{profile.users:,}; {profile.described_users:,} are described")
    table.add_row(
        "items",
        f"{profile.items:,}; {profile.catalogue:,} are described, {profile.unused_items:,} of them without an event",
    )
    unknown = f"{profile.unknown_items:,} items that only events name, {profile.unknown_events:,} events"
    table.add_row("not in the catalogue", Text(unknown, style="yellow" if profile.unknown_items else ""))
    table.add_row("impressions", f"{profile.impressions:,}")
    table.add_row("sessions", f"{profile.sessions:,} (pauses of 30 min), {profile.session_events:g} events on average")
    table.add_row("new items", f"{profile.arrivals_per_day:g} per day after the first fifth of the time")
    table.add_row("idle items", f"{profile.idle_items:.1%} have no event in the last fifth of the time")
    table.add_row(
        "order",
        "by time" if not profile.unordered else f"{profile.unordered:,} events are older than the one before; sorted",
    )
    repeats = (
        f"{profile.repeats:,} events are like another in time, user, item and action; kept"
        if profile.repeats
        else "none"
    )
    table.add_row("repeats", repeats)
    return table


def _advice(report: ImportReport) -> Table:
    table = Table("key", "value", "why", title="What to set")
    for advice in report.advice:
        table.add_row(advice.key, Text(advice.value), Text(advice.why))
    return table
