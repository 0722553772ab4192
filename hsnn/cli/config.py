"""``hsnn config``: write a configuration file, show the effective configuration."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hsnn.cli.options import ConfigFile, Overrides, settings
from hsnn.config.loader import ConfigError
from hsnn.config.render import commented, show

config_app = typer.Typer(
    name="config", help="Configuration: write a file, show what is in force.", no_args_is_help=True
)


@config_app.command("init")
def init_command(path: Annotated[Path, typer.Argument(help="file to write")] = Path("hsnn.toml")) -> None:
    """Write a file with every key at its default, explained; an existing file is never overwritten."""
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(commented())
    except FileExistsError as error:
        raise ConfigError(f"{path} exists already; name another file or remove it first") from error
    except OSError as error:
        raise ConfigError(f"cannot write {path}: {error.strerror}") from error
    typer.echo(f"wrote {path}")


@config_app.command("show")
def show_command(config: ConfigFile = None, overrides: Overrides = None) -> None:
    """Print the effective configuration and where each value came from; passwords are masked."""
    typer.echo(show(settings(config, overrides)), nl=False)
