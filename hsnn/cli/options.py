"""Options shared by the commands: the configuration file, overrides of single keys, a data set."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from hsnn.config.loader import Loaded

ConfigFile = Annotated[
    Path | None, typer.Option("--config", metavar="FILE", help="TOML file; hsnn.toml here, if there is one")
]
Overrides = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="set a configuration key; may be repeated")
]

DataSet = Annotated[str, typer.Option("--data", metavar="NAME[:PATH]", help="a data set; see `hsnn data list`")]


def settings(file: Path | None, overrides: list[str] | None) -> Loaded:
    """Load the configuration from the file and the overrides given as options, and use its prefix of Redis keys.

    Raises
    ------
    hsnn.config.loader.ConfigError
        The configuration cannot be used.
    """
    from hsnn.config.loader import load  # not at the top: `hsnn --help` must not wait for pydantic
    from hsnn.streaming.redis.keys import use_prefix

    loaded = load(file, overrides or ())
    use_prefix(loaded.config.redis.prefix)
    return loaded
