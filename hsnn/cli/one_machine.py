"""``hsnn demo`` and ``hsnn up``: the whole system on one machine."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from hsnn.cli.options import ConfigFile, DataSet, Overrides, settings
from hsnn.demo.run import Demo
from hsnn.demo.sandbox import LogKind
from hsnn.up.run import Up


def demo(
    data: DataSet = "ml-100k",
    events: Annotated[int | None, typer.Option(min=1, help="engagements to send; all of them")] = None,
    log: Annotated[LogKind, typer.Option(help="which event log: Redis Streams or Apache Kafka")] = LogKind.redis,
    json_file: Annotated[Path | None, typer.Option("--json", help="write the figures here")] = None,
    keep: Annotated[bool, typer.Option("--keep", help="keep serving at the end, until Ctrl+C")] = False,
    config: ConfigFile = None,
    overrides: Overrides = None,
) -> None:
    """Run the whole system on a replayed data set, each role its own process, for about two minutes."""
    loaded = settings(config, overrides)
    if json_file is not None and not json_file.absolute().parent.is_dir():
        raise typer.BadParameter(f"there is no folder {json_file.absolute().parent} to write the figures to")
    run = Demo(loaded, data, events=events, log=log, console=Console())
    raise typer.Exit(run.run(json_file, keep))


def up(
    data: Annotated[
        str | None, typer.Option("--data", metavar="NAME[:PATH]", help="a data set to send first, once")
    ] = None,
    folder: Annotated[Path, typer.Option(help="where everything is kept between runs")] = Path("hsnn-data"),
    config: ConfigFile = None,
    overrides: Overrides = None,
) -> None:
    """Run Redis, trainer, scheduler and server until Ctrl+C; the next time they go on where they were."""
    raise typer.Exit(Up(settings(config, overrides), folder, Console()).run(data))
