"""``hsnn index jobs``: show, run, pause and resume the scheduler's jobs."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from hsnn.cli.formatting import time_span, utc
from hsnn.cli.options import ConfigFile, Overrides, settings
from hsnn.indexer.jobs.control import ControlOp, await_leader, send_request
from hsnn.indexer.jobs.history import JobRun, JobView, job_names, list_jobs, run_history
from hsnn.indexer.store.publish_hold import PublishHold, current_hold, epoch_differs
from hsnn.indexer.store.reader import IndexReader
from hsnn.streaming.redis.client import connect

jobs_app = typer.Typer(help="The scheduler's jobs: show, run, pause, resume.", invoke_without_command=True)
Name = Annotated[str, typer.Argument(metavar="NAME", help=f"a job: {', '.join(job_names())}")]
# Seconds to wait for a leader to take a request: it looks for requests every second or so, unless it is busy.
_LEADER_SECONDS = 5.0


@jobs_app.callback()
def jobs(context: typer.Context, config: ConfigFile = None, overrides: Overrides = None) -> None:
    """Show each job: its last run, runs so far, the next one, whether it is paused."""
    if context.invoked_subcommand is None:
        reader = _reader(config, overrides)
        Console().print(jobs_table(list_jobs(reader)))
        if (held := current_hold(reader)) is not None:
            typer.echo(hold_text(held, epoch_differs(reader)))


@jobs_app.command("run")
def run(name: Name, config: ConfigFile = None, overrides: Overrides = None) -> None:
    """Run a job now; while it runs already, once more afterwards; while it is paused, when it is resumed."""
    _ask(_reader(config, overrides), ControlOp.RUN, name)


@jobs_app.command("pause")
def pause(name: Name, config: ConfigFile = None, overrides: Overrides = None) -> None:
    """Start no more runs of a job until it is resumed; holds under the next leader, too."""
    _ask(_reader(config, overrides), ControlOp.PAUSE, name)


@jobs_app.command("resume")
def resume(name: Name, config: ConfigFile = None, overrides: Overrides = None) -> None:
    """Run a paused job again; at once if a run was due meanwhile."""
    _ask(_reader(config, overrides), ControlOp.RESUME, name)


@jobs_app.command("history")
def history_command(name: Name, config: ConfigFile = None, overrides: Overrides = None) -> None:
    """Show the last runs of a job, newest first."""
    Console().print(history_table(name, run_history(_reader(config, overrides), name)))


def _reader(config: ConfigFile, overrides: Overrides) -> IndexReader:
    return IndexReader(connect(settings(config, overrides).config.redis.url))


def _ask(reader: IndexReader, op: ControlOp, name: str) -> None:
    if await_leader(reader, send_request(reader, op, name), _LEADER_SECONDS):
        typer.echo(f"{op} {name}: the leader has taken it")
    else:
        typer.echo(f"{op} {name}: no scheduler leads, or it is busy; the next leader takes it")
        raise typer.Exit(1)


def jobs_table(jobs: Sequence[JobView]) -> Table:
    """Render the jobs."""
    table = Table(*("job", "last run", "outcome", "seconds", "for", "runs", "next"), title="jobs")
    for job in jobs:
        last, over = job.state.last, job.state.overrun_since
        shown = ("-", "-", "-", "-") if last is None else run_cells(last)
        running = job.state.running
        if over is not None:
            shown = (utc(over), "over its time, running", f"{time.time() - over / 1000:.0f}", "-")
        elif running is not None:
            shown = (utc(running.since), "running", f"{time.time() - running.since / 1000:.0f}", "-")
        if running is not None and running.progress is not None:
            far = running.progress
            shown = (shown[0], f"{shown[1]}: {far.done:,} of {far.total:,} {far.what}", *shown[2:])
        table.add_row(job.name, *shown, f"{job.runs:,}", _next(job))
    return table


def history_table(name: str, runs: Sequence[JobRun]) -> Table:
    """Render the runs of a job."""
    table = Table(*("start", "outcome", "seconds", "for", "what went wrong"), title=f"runs of {name}, newest first")
    for run in runs:
        table.add_row(*run_cells(run), run.detail)
    return table


def run_cells(run: JobRun) -> tuple[str, str, str, str]:
    """Format start, outcome, seconds and requester of a run."""
    return utc(run.started), run.outcome, f"{run.seconds:.3f}", run.who


def hold_text(held: PublishHold, cut_off: bool) -> str:
    """Describe a hold, with a warning if the held version no longer gets the trainer's deltas (`cut_off`)."""
    text = f"publishing is held since {utc(held.at)} by {held.by}: {held.reason} (`hsnn index release` ends it)"
    warning = "\nWARNING: the trainer was restarted since; new and expired items do not reach the version that is held"
    return text + (warning if cut_off else "")


def _next(job: JobView) -> str:
    if job.paused:
        return "paused"
    due = job.next_at
    if due is None:
        return "-"
    left = due / 1000 - time.time()
    return (
        f"in {time_span(left)}"
        if left > 0
        else "now"
        if left > -job.state.every - 5
        else "late: does a scheduler lead?"
    )
