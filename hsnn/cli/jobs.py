"""``hsnn index jobs``: what the scheduler's jobs do, and how to run, pause and resume them by hand."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.console import Console

from hsnn.cli import views as views
from hsnn.cli.options import ConfigFile, Overrides, settings
from hsnn.indexer.jobs.control import ControlOp, await_leader, send_request
from hsnn.indexer.jobs.history import JOBS, list_jobs, run_history
from hsnn.indexer.store.publish_hold import current_hold, epoch_differs
from hsnn.indexer.store.reader import IndexReader
from hsnn.streaming.redis.client import connect

jobs_app = typer.Typer(
    help="The scheduler's jobs: how they go; run, pause and resume them.", invoke_without_command=True
)
Name = Annotated[str, typer.Argument(metavar="NAME", help=f"a job: {', '.join(JOBS)}")]
_PATIENCE = 5.0  # seconds that a leader has to take a request


@jobs_app.callback()
def jobs(context: typer.Context, config: ConfigFile = None, overrides: Overrides = None) -> None:
    """Show each job: its last run, runs so far, the next one, whether it is paused."""
    if context.invoked_subcommand is None:
        reader = _reader(config, overrides)
        Console().print(views.jobs_table(list_jobs(reader)))
        if (held := current_hold(reader)) is not None:
            typer.echo(views.hold_text(held, epoch_differs(reader)))


@jobs_app.command("run")
def run(name: Name, config: ConfigFile = None, overrides: Overrides = None) -> None:
    """Run a job now; while it runs already, once more afterwards; while it is paused, when it is resumed."""
    _ask(_reader(config, overrides), ControlOp.RUN, name)


@jobs_app.command("pause")
def pause(name: Name, config: ConfigFile = None, overrides: Overrides = None) -> None:
    """Start no run of a job any more, until it is resumed; also under the next leader."""
    _ask(_reader(config, overrides), ControlOp.PAUSE, name)


@jobs_app.command("resume")
def resume(name: Name, config: ConfigFile = None, overrides: Overrides = None) -> None:
    """Run a paused job again; at once if a run was due meanwhile."""
    _ask(_reader(config, overrides), ControlOp.RESUME, name)


@jobs_app.command("history")
def history_command(name: Name, config: ConfigFile = None, overrides: Overrides = None) -> None:
    """Show the last runs of a job, newest first."""
    Console().print(views.history_table(name, run_history(_reader(config, overrides), name)))


def _reader(config: ConfigFile, overrides: Overrides) -> IndexReader:
    return IndexReader(connect(settings(config, overrides).config.redis.url))


def _ask(reader: IndexReader, op: ControlOp, name: str) -> None:
    if await_leader(reader, send_request(reader, op, name), _PATIENCE):
        typer.echo(f"{op} {name}: the leader has taken it")
    else:
        typer.echo(f"{op} {name}: no scheduler leads, or it is busy; the next leader takes it")
        raise typer.Exit(1)
