"""Render figures for the terminal with rich; no I/O here."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from rich import box
from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from hsnn.demo.figures import Figures
from hsnn.demo.sample_users import SampleUser
from hsnn.evaluation.metrics.precision import precision_warning
from hsnn.monitoring.audit import AuditEntry

# Tables without lines, over the whole width.
_PLAIN: dict[str, Any] = {"title_justify": "left", "box": None, "expand": True, "padding": (0, 1, 0, 0)}

# Colours by the kind of an entry of the audit trail.
_COLOURS = {"alarm": "yellow", "action": "cyan", "outcome": "green"}


def render(figures: Figures) -> RenderableType:
    """Render all figures as one panel of fixed height; 80 columns are enough."""
    title = f"[b]hsnn demo[/] · {figures.data} · log: {figures.log} · {figures.phase}"
    grid = Table.grid(expand=True, padding=(0, 2))
    grid.add_column(ratio=1)
    grid.add_column(ratio=1)
    grid.add_row(_stream(figures), _index(figures))
    grid.add_row(_recall(figures), _freshness(figures))
    rows = [_progress(figures), Text(), grid, Text(), _audit(figures)]
    return Panel(Group(*rows), title=title, box=box.ROUNDED)


def line(figures: Figures) -> str:
    """Render the figures as one line, for output that is no terminal."""
    served, popularity = _pair(figures.recall, "recall_at_20")
    probed = figures.probed()
    fresh = f"{probed[0]:.2f}/{probed[1]:.2f} s" if probed else "-"
    return (
        f"{figures.seconds:6.1f} s  {figures.phase}: {figures.produced:,} produced, {figures.trained:,} learned, "
        f"{figures.rate:,.0f}/s, lag {figures.lag_records:,} ({figures.lag_seconds:.1f} s), loss {figures.loss:.3f}, "
        f"recall@20 {served} (popularity {popularity}), version {figures.index.version}, "
        f"{figures.index.items:,} items, {figures.index.new:,} new, {figures.index.expired:,} expired, "
        f"freshness {fresh}, {figures.alarms} alarms"
    )


def summary(figures: dict[str, Any]) -> Table:
    """Render the figures of `hsnn.demo.outcome.outcome`."""
    table = Table("", "", title=f"{figures['data']}, log: {figures['log']}", box=box.SIMPLE_HEAD, show_header=False)
    events, index, fresh = figures["events"], figures["index"], figures["freshness_seconds"]
    histogram, probes = figures["freshness_histogram_seconds"], figures["probes"]
    table.add_row(
        "events",
        f"{events['produced']:,} produced = {events['trained']:,} trained + {events['dead_lettered']:,} dead-lettered"
        f" + {events['dropped']:,} dropped + {events['pending']:,} pending",
    )
    table.add_row(
        "speed", f"{figures['events_per_second']:,.0f} events/s, stream time at {_times(figures['replay_speed'])}"
    )
    for cut in (20, 50):
        recall = figures[f"recall_at_{cut}"]
        text = f"served {_percent(recall['served'])}, popularity {_percent(recall['popularity'])}"
        table.add_row(f"live recall@{cut}", f"{text}, {figures['queries']:,} queries")
    if warning := precision_warning(figures["queries"]):
        table.add_row("", f"[yellow]{warning}[/]")
    table.add_row("scored share", f"{_percent(figures['scored_share'])} of the live items per request")
    table.add_row(
        "freshness",
        f"p50 {_seconds(fresh['p50'])}, p99 {_seconds(fresh['p99'])} by {probes['answered']:,} HTTP probes"
        f" ({probes['unanswered']} unanswered); histogram {_seconds(histogram['p50'])}, {_seconds(histogram['p99'])}",
    )
    table.add_row(
        "expired returned",
        f"{figures['expired_returned']} in {figures['answers_checked']:,} answers of "
        f"{figures['items_checked']:,} items",
    )
    table.add_row(
        "index",
        f"{index['items']:,} items, {index['new']:,} new, {index['expired']:,} expired; version {figures['version']}",
    )
    table.add_row("nodes", f"{index['nodes']}, fullest over mean {index['max_over_mean']:.2f}, {index['dead']} dead")
    table.add_row("alarms", f"{figures['alarms']}")
    return table


def users_table(users: list[SampleUser]) -> Table:
    """Render users with their last items and recommendations."""
    table = Table(
        "user", "last items, newest first", "recommended now, best first", box=box.SIMPLE_HEAD, show_lines=True
    )
    for user in users:
        recommended = "\n".join(f"{place}. {title}" for place, title in enumerate(user.recommended, 1))
        table.add_row(Text(user.user), Text("\n".join(user.last)), Text(recommended))
    return table


def audit_line(entry: AuditEntry) -> str:
    """Render an entry of the audit trail as a line of rich markup."""
    clock = datetime.fromtimestamp(entry.at / 1000, UTC).astimezone().strftime("%H:%M:%S")
    text = " ".join(dict.fromkeys(part for part in (entry.kind, entry.action, entry.outcome) if part))
    version = "" if entry.version is None else f" version {entry.version}"
    said = entry.detail.get("text", "")
    return f"[dim]{clock}[/] [{_COLOURS.get(entry.event, 'white')}]{entry.event}[/] {text}{version} {said}".rstrip()


def _progress(figures: Figures) -> RenderableType:
    grid = Table.grid(expand=True, padding=(0, 1))
    grid.add_column(ratio=1)
    grid.add_column(justify="right", no_wrap=True)
    bar = ProgressBar(total=max(figures.wanted, 1), completed=figures.accounted)
    grid.add_row(bar, f"{figures.accounted:,} of {figures.wanted:,} · {figures.seconds:.0f} s")
    return grid


def _table(title: str) -> Table:
    table = Table(
        title=f"[b]{title}[/]", title_justify="left", box=None, show_header=False, expand=True, padding=(0, 1, 0, 0)
    )
    table.add_column(style="dim", no_wrap=True)
    table.add_column(justify="right", no_wrap=True)
    return table


def _stream(figures: Figures) -> Table:
    table = _table("stream")
    lost = figures.dead_lettered + sum(figures.dropped.values())
    table.add_row("produced", f"{figures.produced:,}")
    table.add_row("learned", f"{figures.trained:,}" + (f" + {lost:,} refused" if lost else ""))
    table.add_row("events/s", f"[b]{figures.rate:,.0f}[/]")
    table.add_row("lag", f"{figures.lag_records:,} records · {figures.lag_seconds:.2f} s")
    table.add_row("loss", f"[b]{figures.loss:.3f}[/]")
    day = datetime.fromtimestamp(figures.watermark / 1000, UTC).strftime("%Y-%m-%d %H:%M") if figures.watermark else "-"
    table.add_row("stream time", f"{day} · {_times(figures.speed)}")
    return table


def _index(figures: Figures) -> Table:
    index = figures.index
    table = _table("index")
    table.add_row("version", f"[b]{index.version or '-'}[/]")
    table.add_row("items", f"{index.items:,}")
    table.add_row("new · expired", f"[green]{index.new:,}[/] · [red]{index.expired:,}[/]")
    table.add_row("nodes", f"{index.nodes}")
    table.add_row("fullest / mean", f"{index.max_over_mean:.2f}")
    table.add_row("dead nodes", f"{index.dead}")
    return table


def _recall(figures: Figures) -> Table:
    table = Table(title="[b]live recall[/]", **_PLAIN)
    table.add_column("", style="dim", no_wrap=True)
    for name in ("served", "popularity"):
        table.add_column(name, justify="right", no_wrap=True)
    for cut in (20, 50):
        for label, values in (("now", figures.recent), ("run", figures.recall)):
            table.add_row(f"@{cut} {label}", *_pair(values, f"recall_at_{cut}"))
    table.add_row("queries", f"{figures.measured:,}", f"{figures.unmeasured:,} late" if figures.unmeasured else "")
    return table


def _freshness(figures: Figures) -> Table:
    table = _table("freshness, sent → retrievable")
    probed = figures.probed()
    for name, at in (("p50", 0), ("p99", 1)):
        probe = f"{probed[at]:.2f} s" if probed else "-"
        histogram = f"{figures.freshness[at]:.2f} s" if figures.freshness else "-"
        table.add_row(name, f"[b]{probe}[/] [dim]· server says {histogram}[/]")
    table.add_row("probes", f"{len(figures.probes):,}")
    table.add_row("scored", f"{_percent(figures.scored_share)} of the items")
    table.add_row("alarms", f"[{'yellow' if figures.alarms else 'default'}]{figures.alarms}[/]")
    return table


def _audit(figures: Figures) -> RenderableType:
    lines = [audit_line(entry) for entry in list(figures.audit)[-4:]]
    lines = [*lines, *[""] * (4 - len(lines))]
    table = Table(title="[b]alarms and actions[/]", title_justify="left", box=None, show_header=False, expand=True)
    table.add_column(no_wrap=True, overflow="ellipsis")
    for text in lines:
        table.add_row(text)
    return table


def _pair(recall: dict[str, dict[str, float]], name: str) -> tuple[str, str]:
    found = recall.get(name, {})
    return _percent(found.get("served")), _percent(found.get("popularity"))


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.2f}%"


def _seconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f} s"


def _times(speed: float) -> str:
    return f"{speed:,.0f}x"
