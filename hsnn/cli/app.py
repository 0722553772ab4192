"""The command line ``hsnn``: the table of its commands, each imported only when it is called, so that help is quick."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module
from typing import NamedTuple

import typer


class LazyCommand(NamedTuple):
    """A command or command group, imported from its module when it is called.

    Attributes
    ----------
    module, attribute
        Where the function of the command, or the Typer app of the group, is.
    help
        Line in ``hsnn --help``, where the module is not imported.
    extra
        What to install where a package is missing; empty: the extra of that package alone.
    """

    module: str
    attribute: str
    help: str
    extra: str = ""


COMMANDS = {
    "demo": LazyCommand(
        "hsnn.cli.one_machine", "demo", "Replay a data set through the whole system, for two minutes.", extra="all"
    ),
    "up": LazyCommand(
        "hsnn.cli.one_machine", "up", "Run everything on this machine, kept in a folder, until Ctrl+C.", extra="all"
    ),
    "train": LazyCommand("hsnn.cli.services", "train", "Run the trainer: event log to model, states and snapshots."),
    "schedule": LazyCommand("hsnn.cli.services", "schedule", "Run the scheduler: snapshots to index versions."),
    "serve": LazyCommand("hsnn.cli.services", "serve", "Run the server: retrieval over HTTP."),
    "evaluate": LazyCommand("hsnn.cli.evaluate", "evaluate", "Measure retrieval on a data set: test, then train."),
    "doctor": LazyCommand("hsnn.cli.doctor", "doctor", "Check this machine and what the configuration points to."),
    "upgrade": LazyCommand("hsnn.cli.doctor", "upgrade", "Convert what an earlier release has stored."),
    "config": LazyCommand("hsnn.cli.config", "config_app", "Configuration: write a file, show what is in force."),
    "redis": LazyCommand("hsnn.cli.servers", "redis_app", "One Redis-protocol server on loopback."),
    "kafka": LazyCommand("hsnn.cli.servers", "kafka_app", "One Apache Kafka broker on loopback, for tests and demos."),
    "checkpoint": LazyCommand(
        "hsnn.cli.checkpoint", "checkpoint_app", "Checkpoints: list, inspect, verify, export, digest."
    ),
    "control": LazyCommand(
        "hsnn.cli.control", "control_app", "Commands to the trainer: learning rates, rebalance, end of a stream."
    ),
    "data": LazyCommand("hsnn.cli.data.commands", "data_app", "Data sets: import your own, list, fetch, describe."),
    "dlq": LazyCommand("hsnn.cli.dlq", "dlq_app", "Dead letters: list, show, replay."),
    "drift": LazyCommand(
        "hsnn.cli.drift", "drift_app", "Drift: report alarms and their causes; confirm, dismiss, snooze."
    ),
    "index": LazyCommand(
        "hsnn.cli.index", "index_app", "Index: show, verify, compare, roll back; its jobs; fit one to vectors."
    ),
    "produce": LazyCommand("hsnn.cli.produce", "produce", "Send a data set into the log in event-time order."),
}


def application(arguments: Sequence[str] = ()) -> typer.Typer:
    """Build the command line; only the commands named in `arguments` are imported, the others have their help alone."""
    app = typer.Typer(
        help="Retrieval that learns while it serves.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
    )
    app.command()(version)
    for name, lazy in COMMANDS.items():
        if name in arguments:
            _add(app, name, lazy)
        else:
            app.command(name, help=lazy.help)(_not_imported)
    return app


def main() -> None:
    """Run the command line; an error that the user can act on is one sentence and exit status 2, or its own."""
    try:
        application(sys.argv[1:])(prog_name="hsnn")
    except Exception as error:
        from hsnn.monitoring.errors import user_message

        command = COMMANDS.get("".join(sys.argv[1:2]))
        message = user_message(error, command.extra if command else "")
        if message is None:
            raise
        typer.secho(f"hsnn: {message}", err=True, fg="red")
        sys.exit(getattr(error, "exit_status", 2))


def version() -> None:
    """Print the version."""
    from importlib.metadata import version as installed_version

    typer.echo(f"hsnn {installed_version('hsnn')}")


def _add(app: typer.Typer, name: str, lazy: LazyCommand) -> None:
    command = getattr(import_module(lazy.module), lazy.attribute)
    if isinstance(command, typer.Typer):
        app.add_typer(command, name=name)
    else:
        app.command(name)(command)


def _not_imported() -> None:
    """Stand in for a command in the list of commands."""
