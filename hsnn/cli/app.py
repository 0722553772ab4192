"""The command line ``hsnn``: which commands there are. It imports little, so that ``hsnn --help`` is there at once."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import NamedTuple

import typer

from hsnn.cli import processes


class Elsewhere(NamedTuple):
    """A command or group that lives in a module of its own, imported only when it is called."""

    module: str
    name: str
    help: str


ELSEWHERE = {
    "checkpoint": Elsewhere(
        "hsnn.cli.checkpoint", "checkpoint_app", "Checkpoints: list, inspect, verify, export, digest."
    ),
    "control": Elsewhere(
        "hsnn.cli.control", "control_app", "Commands to the trainer: learning rates, rebalance, end of a stream."
    ),
    "data": Elsewhere("hsnn.cli.data", "data_app", "Data sets: list them, get them, see what they hold."),
    "dlq": Elsewhere("hsnn.cli.dlq", "dlq_app", "Dead letters: list them, show them, send them again."),
    "index": Elsewhere(
        "hsnn.cli.index", "index_app", "Index: show, verify, compare, export it; its jobs; the way back."
    ),
    "produce": Elsewhere("hsnn.cli.produce", "produce", "Send a data set into the log in event-time order."),
}
COMMANDS: tuple[Callable[..., None], ...] = (
    processes.demo,
    processes.train,
    processes.schedule,
    processes.serve,
    processes.evaluate,
    processes.doctor,
    processes.version,
)
GROUPS: dict[tuple[str, str], dict[str, Callable[..., None]]] = {
    ("config", "Configuration: write a file, show what is in force."): {
        "init": processes.config_init,
        "show": processes.config_show,
    },
    ("kafka", "One Apache Kafka broker on loopback, for tests and demos."): {
        "fetch": processes.kafka_fetch,
        "start": processes.kafka_start,
        "stop": processes.kafka_stop,
    },
}


def application(arguments: Sequence[str] = ()) -> typer.Typer:
    """Build the command line; of the commands that live elsewhere, only those named in `arguments` are imported."""
    app = _group("Retrieval that learns while it serves.")
    for command in COMMANDS:
        app.command()(command)
    for (group, about), inner in GROUPS.items():
        typed = _group(about)
        for name, command in inner.items():
            typed.command(name)(command)
        app.add_typer(typed, name=group)
    for name, place in ELSEWHERE.items():
        _mount(app, name, place, name in arguments)
    return app


def main() -> None:
    """Run the command line; errors that a person can act on are said in one sentence, with exit status 2."""
    try:
        application(sys.argv[1:])(prog_name="hsnn")
    except Exception as error:
        from hsnn.cli.error_messages import sentence

        said = sentence(error)
        if said is None:
            raise
        typer.secho(f"hsnn: {said}", err=True, fg="red")
        sys.exit(2)


def _group(about: str) -> typer.Typer:
    return typer.Typer(
        help=about, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None
    )


def _mount(app: typer.Typer, name: str, place: Elsewhere, real: bool) -> None:
    found = getattr(import_module(place.module), place.name) if real else _absent
    if isinstance(found, typer.Typer):
        app.add_typer(found, name=name)
    else:
        app.command(name, help=None if real else place.help)(found)


def _absent() -> None:
    """Stand for a command in the list of commands."""
