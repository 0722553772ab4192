"""How the index and its jobs are shown to people."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import UTC, datetime

import msgspec
from rich.console import Console
from rich.table import Table

from hsnn.indexer.admin.diff import VersionDiff
from hsnn.indexer.admin.stats import VersionStats
from hsnn.indexer.jobs.history import JobRun, JobView
from hsnn.indexer.store.publish_hold import PublishHold
from hsnn.indexer.verify.verify import KINDS, VerifyReport

_SHOWN = 10


def portrait_table(found: VersionStats) -> Table:
    """Table of a version."""
    table = Table("", "", title=f"version {found.manifest.version}", show_header=False)
    for name, value in msgspec.to_builtins(found.manifest).items():
        table.add_row(name, moment(value) if name in ("created_at", "watermark") else str(value))
    sizes = found.sizes
    rows = {
        "in use": "yes" if found.current else "no",
        "items now": f"{sizes.items:,}",
        "nodes, fullest over mean": f"{sizes.max_over_mean:.2f}",
        "nodes, deviation over mean": f"{sizes.std_over_mean:.2f}",
        "nodes without items": f"{sizes.dead:,} of {sizes.nodes:,}",
        "age": span(found.age),
        "deltas since": f"{found.deltas:,}",
        **{f"bytes of {name}": f"{size:,}" for name, size in found.memory.items()},
        "bytes per item": f"{found.bytes_per_item:,.0f}",
    }
    for name, text in rows.items():
        table.add_row(name, text)
    return table


def verify_text(report: VerifyReport) -> str:
    """Say what a verification found."""
    head = f"version {report.version}, {report.items:,} items in the map: {'clean' if report.clean else 'DAMAGED'}"
    lines = [head] + [
        f"  {kind:<10} {count:>7,}  {KINDS[kind]}: {some(getattr(report, kind))}"
        for kind, count in report.counts.items()
        if count
    ]
    if not report.catalogue_checked:
        lines.append("  not compared with the catalogue: readers use another version")
    return "\n".join(lines)


def print_comparison(console: Console, before: int, after: int, found: VersionDiff) -> None:
    """Print how two versions differ."""
    lines = (
        f"only in {before}: {len(found.only_before):,}  {some(found.only_before)}",
        f"only in {after}: {len(found.only_after):,}  {some(found.only_after)}",
        f"in another node: {len(found.moved):,} of {found.common:,} in both ({found.share_moved:.1%})  "
        + some([f"{item} {old}->{new}" for item, (old, new) in found.moved.items()]),
    )
    for line in lines:
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    table = Table("node", f"items in {before}", f"items in {after}", "came", "went", title="most changed nodes")
    for change in found.nodes[:_SHOWN]:
        table.add_row(*map(str, change))
    if found.nodes:
        console.print(table)


def jobs_table(jobs: Sequence[JobView]) -> Table:
    """Table of the jobs."""
    table = Table("job", "last run", "outcome", "seconds", "for", "runs", "next", title="jobs")
    for job in jobs:
        last, over = job.state.last, job.state.overrun_since
        shown = ("-", "-", "-", "-") if last is None else run_cells(last)
        running = job.state.running
        if over is not None:
            shown = (moment(over), "over its time, running", f"{time.time() - over / 1000:.0f}", "-")
        elif running is not None:
            shown = (moment(running.since), "running", f"{time.time() - running.since / 1000:.0f}", "-")
        if running is not None and running.progress is not None:
            far = running.progress
            shown = (shown[0], f"{shown[1]}: {far.done:,} of {far.total:,} {far.what}", *shown[2:])
        table.add_row(job.name, *shown, f"{job.runs:,}", _next(job))
    return table


def history_table(name: str, runs: Sequence[JobRun]) -> Table:
    """Table of a job's runs."""
    table = Table("start", "outcome", "seconds", "for", "what went wrong", title=f"runs of {name}, newest first")
    for run in runs:
        table.add_row(*run_cells(run), run.detail)
    return table


def run_cells(run: JobRun) -> tuple[str, str, str, str]:
    """Start, outcome, seconds and caller of a run, as texts."""
    return moment(run.started), run.outcome, f"{run.seconds:.3f}", run.who


def hold_text(held: PublishHold, cut_off: bool) -> str:
    """Sentence about a hold, and a warning if the version that is held is `epoch_differs` from the trainer."""
    text = f"publishing is held since {moment(held.at)} by {held.by}: {held.reason} (`hsnn index release` ends it)"
    warning = "\nWARNING: the trainer was restarted since; new and expired items do not reach the version that is held"
    return text + (warning if cut_off else "")


def moment(ms: int) -> str:
    """Write epoch ms in UTC.

    Examples
    --------
    >>> moment(1_700_000_000_000)
    '2023-11-14 22:13:20'
    """
    return datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S")


def span(seconds: float) -> str:
    """Write a time span in its largest unit.

    Examples
    --------
    >>> span(5.4), span(7000), span(200_000)
    ('5 s', '1.9 h', '2.3 d')
    """
    for unit, size in (("d", 86400.0), ("h", 3600.0), ("min", 60.0)):
        if seconds >= size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.0f} s"


def some(items: Sequence[str]) -> str:
    """Write the first of some items, and how many more there are.

    Examples
    --------
    >>> some(["a", "b"]), some([str(number) for number in range(12)])
    ('a, b', '0, 1, 2, 3, 4, 5, 6, 7, 8, 9 and 2 more')
    """
    count = len(items)
    text = ", ".join(items[:_SHOWN]).encode(errors="backslashreplace").decode()
    return text + (f" and {count - _SHOWN:,} more" if count > _SHOWN else "")


def _next(job: JobView) -> str:
    if job.paused:
        return "paused"
    due = job.next_at
    if due is None:
        return "-"
    left = due / 1000 - time.time()
    return f"in {span(left)}" if left > 0 else "now" if left > -job.state.every - 5 else "late: does a scheduler lead?"
