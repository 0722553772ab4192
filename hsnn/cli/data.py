"""``hsnn data``: list, fetch and describe the data sets."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from hsnn.streaming.datasets import DataError, cache, describe, get, load, names, source

data_app = typer.Typer(name="data", help="Data sets: list, fetch, describe.", no_args_is_help=True)


@data_app.command("list")
def list_command() -> None:
    """List the data sets, their terms, and whether they are in the cache."""
    table = Table("name", "what it is", "terms", "access", title="Data sets")
    for name in names():
        entry = source(name)
        access = "cached" if cache.folder(name).is_dir() else "get" if entry.fetch else "by path"
        table.add_row(name, entry.summary, entry.terms, access)
    Console().print(table)
    Console().print(
        "get: `hsnn data get NAME` fetches it; by path: name its folder, NAME:/path/to/folder.", highlight=False
    )


@data_app.command("get")
def get_command(name: Annotated[str, typer.Argument(help="name of a data set")]) -> None:
    """Download a data set into the cache and verify it, or say how to obtain it."""
    try:
        folder = get(name)
    except DataError as error:
        _fail(error)
    typer.echo(f"{name} is in {folder}")


@data_app.command("describe")
def describe_command(data: Annotated[str, typer.Argument(metavar="NAME[:PATH]", help="a data set")]) -> None:
    """Show the origin and terms of a data set, and its counts when its files are here."""
    try:
        entry = source(data.partition(":")[0])
        facts = {"what it is": entry.summary, "terms": entry.terms, "from": entry.homepage, "how": entry.obtain}
        Console().print(_two_columns(entry.name, facts))
        Console().print(_two_columns("counts", _formatted(describe(load(data)))))
    except DataError as error:
        _fail(error)


def _fail(error: DataError) -> typer.Exit:
    typer.secho(str(error), err=True, fg="red")
    raise typer.Exit(1)


def _two_columns(title: str, rows: dict[str, Any]) -> Table:
    table = Table("", "", title=title, show_header=False)
    for name, value in rows.items():
        table.add_row(name, str(value))
    return table


def _formatted(facts: dict[str, Any]) -> dict[str, str]:
    texts = {name: f"{value:,}" if isinstance(value, int) else str(value) for name, value in facts.items()}
    for name in ("first", "last"):
        if facts[name] is not None:
            texts[name] = datetime.fromtimestamp(facts[name] / 1000, UTC).isoformat(timespec="seconds")
    texts["actions"] = ", ".join(f"{action} {count:,}" for action, count in facts["actions"].items())
    idle = facts["expire_after_idle"]
    texts["expire_after_idle"] = "items stay" if idle is None else f"{idle / 3600:g} h"
    return texts
