"""``hsnn up``: everything on one machine, in one terminal."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from hsnn.cli.options import ConfigFile, Overrides, settings
from hsnn.up.run import Up


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
