"""The command line ``hsnn``: which commands there are. It imports little, so that ``hsnn --help`` is there at once."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import NamedTuple

import typer

from hsnn import commands


class Elsewhere(NamedTuple):
    """A command or group that lives in a module of its own, imported only when it is called."""

    module: str
    name: str
    help: str


ELSEWHERE = {
    "checkpoint": Elsewhere(
        "hsnn.checkpoint_commands", "checkpoint_app", "Checkpoints: list, inspect, verify, export, digest."
    ),
    "control": Elsewhere(
        "hsnn.control_commands", "control_app", "Commands to the trainer: learning rates, rebalance, end of a stream."
    ),
    "data": Elsewhere("hsnn.data_commands", "data_app", "Data sets: list them, get them, see what they hold."),
    "dlq": Elsewhere("hsnn.dlq_commands", "dlq_app", "Dead letters: list them, show them, send them again."),
    "index": Elsewhere(
        "hsnn.index_commands", "index_app", "Index: show, verify, compare, export it; its jobs; the way back."
    ),
    "produce": Elsewhere("hsnn.produce_command", "produce", "Send a data set into the log in event-time order."),
}
COMMANDS: tuple[Callable[..., None], ...] = (
    commands.demo,
    commands.train,
    commands.schedule,
    commands.serve,
    commands.evaluate,
    commands.doctor,
    commands.version,
)
GROUPS: dict[tuple[str, str], dict[str, Callable[..., None]]] = {
    ("config", "Configuration: write a file, show what is in force."): {
        "init": commands.config_init,
        "show": commands.config_show,
    },
    ("kafka", "One Apache Kafka broker on loopback, for tests and demos."): {
        "fetch": commands.kafka_fetch,
        "start": commands.kafka_start,
        "stop": commands.kafka_stop,
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
        from hsnn.errors import sentence

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
