"""``hsnn data``: which data sets there are, how to get them, what they hold."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from hsnn.streaming.datasets import DataError, cache, describe, get, load, names, source

data_app = typer.Typer(name="data", help="Data sets: list them, get them, see what they hold.", no_args_is_help=True)


@data_app.command("list")
def list_command() -> None:
    """List the data sets, their terms, and whether they are in the cache."""
    table = Table("name", "what it is", "terms", "here", title="Data sets")
    for name in names():
        known = source(name)
        here = "cached" if cache.folder(name).is_dir() else "get" if known.fetch else "by path"
        table.add_row(name, known.summary, known.terms, here)
    Console().print(table)
    Console().print(
        "get: `hsnn data get NAME` fetches it; by path: name its folder, NAME:/path/to/folder.", highlight=False
    )


@data_app.command("get")
def get_command(name: Annotated[str, typer.Argument(help="name of a data set")]) -> None:
    """Fetch a data set, check it, cache it; or say how to obtain it."""
    try:
        folder = get(name)
    except DataError as error:
        _fail(error)
    typer.echo(f"{name} is in {folder}")


@data_app.command("describe")
def describe_command(data: Annotated[str, typer.Argument(metavar="NAME[:PATH]", help="a data set")]) -> None:
    """Show the origin and terms of a data set, and its counts when its files are here."""
    try:
        known = source(data.partition(":")[0])
        table = _pairs(
            known.name, {"what it is": known.summary, "terms": known.terms, "from": known.homepage, "how": known.obtain}
        )
        Console().print(table)
        Console().print(_pairs("counts", _readable(describe(load(data)))))
    except DataError as error:
        _fail(error)


def _fail(error: DataError) -> typer.Exit:
    typer.secho(str(error), err=True, fg="red")
    raise typer.Exit(1)


def _pairs(title: str, rows: dict[str, Any]) -> Table:
    table = Table("", "", title=title, show_header=False)
    for name, value in rows.items():
        table.add_row(name, str(value))
    return table


def _readable(facts: dict[str, Any]) -> dict[str, str]:
    shown = {name: f"{value:,}" if isinstance(value, int) else str(value) for name, value in facts.items()}
    for name in ("first", "last"):
        if facts[name] is not None:
            shown[name] = datetime.fromtimestamp(facts[name] / 1000, UTC).isoformat(timespec="seconds")
    shown["actions"] = ", ".join(f"{action} {count:,}" for action, count in facts["actions"].items())
    idle = facts["expire_after_idle"]
    shown["expire_after_idle"] = "items stay" if idle is None else f"{idle / 3600:g} h"
    return shown
