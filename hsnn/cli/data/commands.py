"""``hsnn data``: import, check, list, fetch and describe data sets."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, NoReturn, TypeVar

import typer
from rich.console import Console
from rich.table import Table

from hsnn.cli.data.report import print_report, write_html
from hsnn.streaming.datasets import DataError, cache, describe, get, load, names, source
from hsnn.streaming.datasets.imported.mapping import FileMap, read_map
from hsnn.streaming.datasets.imported.report import ImportReport
from hsnn.streaming.datasets.imported.store import DESCRIPTION, read_description

data_app = typer.Typer(name="data", help="Data sets: import your own, list, fetch, describe.", no_args_is_help=True)

Files = Annotated[
    list[Path],
    typer.Argument(
        metavar="FILE...",
        help="CSV, TSV, JSON lines, Parquet or Arrow, also .gz and .zst; a folder: all of its files",
    ),
]
MapFile = Annotated[
    Path | None, typer.Option("--map", metavar="FILE", help="TOML file that says which column is what; else guessed")
]
Format = Annotated[
    str | None,
    typer.Option(
        "--format", help="gorse, metarank, recbole, movielens, segment, ga4 or snowplow: the columns are known"
    ),
]
Html = Annotated[Path | None, typer.Option("--html", metavar="FILE", help="write the report here as well")]

_Result = TypeVar("_Result")


@data_app.command("import")
def import_command(
    files: Files,
    name: Annotated[str, typer.Option("--name", help="name of the data set, for --data")],
    map_file: MapFile = None,
    format: Format = None,
    replace: Annotated[bool, typer.Option("--replace", help="replace the data set of this name")] = False,
    html: Html = None,
) -> None:
    """Make a data set of your own files: check them, sort them by time, and keep them in the cache."""
    from hsnn.streaming.datasets.imported.entry import import_dataset

    target, found = _with_status(
        lambda columns, say: import_dataset(name, files, columns=columns, format=format, replace=replace, report=say),
        map_file,
        format,
    )
    _show(found, html)
    if found.guessed:
        _keep_guess(found, Path(f"{name}.map.toml"), files, name)
    typer.echo(f"{name} is in {target}; try `hsnn evaluate --data {name}` or `hsnn demo --data {name}`")


@data_app.command("validate")
def validate_command(files: Files, map_file: MapFile = None, format: Format = None, html: Html = None) -> None:
    """Say what an import of your files would find, what would be learned, and what to set; keep nothing."""
    from hsnn.streaming.datasets.imported.entry import validate_files

    found = _with_status(
        lambda columns, say: validate_files(files, columns=columns, format=format, report=say), map_file, format
    )
    _show(found, html)


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
        if (folder := _imported(data)) is not None:
            print_report(read_description(folder).report, Console())
            return
        entry = source(data.partition(":")[0])
        facts = {"what it is": entry.summary, "terms": entry.terms, "from": entry.homepage, "how": entry.obtain}
        Console().print(_two_columns(entry.name, facts))
        Console().print(_two_columns("counts", _formatted(describe(load(data)))))
    except DataError as error:
        _fail(error)


def _imported(data: str) -> Path | None:
    """Return the folder of an imported data set; None for one that hsnn knows, or none at all."""
    name, _, path = data.partition(":")
    folder = Path(path).expanduser() if path else cache.folder(name)
    return folder if name and (folder / DESCRIPTION).is_file() else None


def _with_status(
    work: Callable[[FileMap | None, Callable[[str], None]], _Result], map_file: Path | None, format: str | None
) -> _Result:
    """Do the work with the map, while the terminal says what is being done; end the command on an error."""
    if map_file is not None and format is not None:
        raise typer.BadParameter("--map and --format exclude each other: a format is a map that is known")
    console = Console(stderr=True)
    try:
        columns = None if map_file is None else read_map(map_file)
        with console.status("looking at the files") as status:
            return work(columns, status.update)
    except DataError as error:
        _fail(error)


def _show(found: ImportReport, html: Path | None) -> None:
    print_report(found, Console())
    if html is not None:
        try:
            write_html(found, html)
        except OSError as error:
            _fail(DataError(f"the report cannot be written: {error}"))
        typer.echo(f"the report is in {html}")


def _keep_guess(found: ImportReport, path: Path, files: list[Path], name: str) -> None:
    """Write the guessed map where the user can edit it; a file that is there is left alone."""
    again = f"`hsnn data import {' '.join(map(str, files))} --map {path} --name {name} --replace`"
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(found.map)
    except FileExistsError:
        typer.echo(f"the columns were guessed; {path} was there already and is left as it is")
    except OSError as error:
        typer.echo(f"the columns were guessed; the map cannot be written here: {error.strerror}")
    else:
        typer.echo(f"the columns were guessed, and the guess is in {path}: edit it if it is wrong, and run {again}")


def _fail(error: DataError) -> NoReturn:
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
