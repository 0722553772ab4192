"""The configuration: the rooms' own parts composed, read from arguments, environment, file, defaults, in this order."""

from __future__ import annotations

import json
import os
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
)

from hsnn.config.keys import Key, flatten, keys, nearest, nested
from hsnn.indexer.config import IndexerConfig
from hsnn.monitoring.config import MonitoringConfig
from hsnn.monitoring.errors import HsnnError
from hsnn.serving.config import ServingConfig
from hsnn.streaming.config import StreamingConfig
from hsnn.trainer.config.model import TrainerConfig

DEFAULT_FILE = "hsnn.toml"
ENV_PREFIX = "HSNN_"
OTHER_VARIABLES = frozenset({"HSNN_CONFIG", "HSNN_CACHE", "HSNN_DATA", "HSNN_VENV"})
"""The project's environment variables that are no configuration keys: file, cache, data sets, virtual environment."""


Setting = tuple[str, Any, str]
"""Key, value, and the source it came from."""


class ConfigError(HsnnError):
    """The configuration cannot be used; the text names key, source and remedy."""


class RedisConfig(BaseModel):
    """Where the index lives."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    url: str = Field(
        "redis://127.0.0.1:6379/0",
        description="Redis or Valkey, 7 or newer: redis://[user:password@]HOST:PORT/DB or rediss://...; "
        "redis+cluster://HOST:PORT, one node of a Redis Cluster",
    )


class Config(BaseSettings):
    """Everything that can be configured. ``Config()`` is the defaults alone; `load` reads the other sources too."""

    model_config = SettingsConfigDict(extra="forbid", frozen=True)

    redis: RedisConfig = RedisConfig()
    streaming: StreamingConfig = StreamingConfig()
    trainer: TrainerConfig = TrainerConfig()
    indexer: IndexerConfig = IndexerConfig()
    serving: ServingConfig = ServingConfig()
    monitoring: MonitoringConfig = MonitoringConfig()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003 - the names are pydantic's
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Take arguments only: `load` merges the sources itself, because it also tells where each value came from."""
        return (init_settings,)

    @model_validator(mode="after")
    def _same_tasks(self) -> Self:
        joined, learned = self.streaming.tasks, self.trainer.model.tasks
        if learned and learned != joined:
            raise ValueError(
                f"trainer.model.tasks is {list(learned)}, but streaming.tasks, by which impressions are joined, is "
                f"{list(joined)}; make them the same"
            )
        return self

    def digest(self) -> str:
        """SHA-256 of the configuration without its secrets; checkpoints and versions carry it."""
        from hsnn.config.render import config_digest  # it imports this module

        return config_digest(self)


@dataclass(frozen=True, slots=True)
class Loaded:
    """A configuration and where its values came from.

    Attributes
    ----------
    config
    origins
        Source of every key that is not at its default: ``--set``, an environment variable or a file.
    """

    config: Config
    origins: dict[str, str]


def known_keys() -> dict[str, Key]:
    """All keys of the configuration by dotted name, in order."""
    return {key.name: key for key in keys(Config)}


def load(file: Path | None = None, overrides: Sequence[str] = ()) -> Loaded:
    """Read the configuration.

    Parameters
    ----------
    file
        A TOML file that must exist; without it ``$HSNN_CONFIG``, else ``hsnn.toml`` in the working folder if it exists.
    overrides
        ``a.b=c`` each; stronger than the environment (``HSNN_A__B=c``), which is stronger than the file.

    Raises
    ------
    ConfigError
        A file cannot be read, a key is unknown, or a value is not allowed.

    Examples
    --------
    >>> loaded = load(overrides=["streaming.batch_size=64", "streaming.max_wait=1s"])
    >>> loaded.config.streaming.batch_size, loaded.config.streaming.max_wait
    (64, 1.0)
    >>> loaded.origins["streaming.batch_size"]
    '--set'
    """
    known = known_keys()
    values: dict[str, Any] = dict(flatten(Config().model_dump(), known))
    origins: dict[str, str] = {}
    for name, value, origin in (
        *_from_file(file, known),
        *_from_environment(known),
        *_from_arguments(overrides, known),
    ):
        key = known[name]
        merged = {**values[name], **value} if key.open and isinstance(value, dict) else value
        values[name] = None if key.optional and merged == "none" else merged
        origins[name] = origin
    try:
        given = {name: values[name] for name in origins}  # no defaults: a preset sets what is not given
        return Loaded(Config(**nested(given.items())), origins)
    except ValidationError as error:
        raise ConfigError("; ".join(_sentence(dict(problem), origins) for problem in error.errors())) from error


def _from_file(file: Path | None, known: Mapping[str, Key]) -> list[Setting]:
    named = file or (Path(os.environ["HSNN_CONFIG"]) if os.environ.get("HSNN_CONFIG") else None)
    path = named or Path(DEFAULT_FILE)
    if named is None and not path.exists():
        return []
    try:
        tree = tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise ConfigError(
            f"cannot read {path}: {error.strerror}; `hsnn config init {path}` writes a configuration"
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not TOML: {error}") from error
    return [(_known(name, known, str(path)), value, str(path)) for name, value in flatten(tree, known)]


def _from_environment(known: Mapping[str, Key]) -> list[Setting]:
    variables = {}
    for variable in os.environ:
        if variable.upper().startswith(ENV_PREFIX) and variable.upper() not in OTHER_VARIABLES:
            name = variable[len(ENV_PREFIX) :].lower().replace("__", ".")
            whole_section = any(key.startswith(f"{name}.") for key in known)  # as JSON
            variables[name if whole_section else _known(name, known, variable)] = variable
    try:
        tree = EnvSettingsSource(Config, env_prefix=ENV_PREFIX, env_nested_delimiter="__", case_sensitive=False)()
    except SettingsError as error:
        raise ConfigError(f"environment: {error}; lists and tables are written as JSON") from error
    return [
        (_known(name, known, "environment"), value, variables.get(name, "environment"))
        for name, value in flatten(tree, known)
    ]


def _from_arguments(overrides: Sequence[str], known: Mapping[str, Key]) -> list[Setting]:
    found: list[Setting] = []
    for override in overrides:
        name, equals, text = override.partition("=")
        if not equals:
            raise ConfigError(f"--set {override}: write it as --set section.key=value")
        key = known[_known(name.strip(), known, "--set")]
        inner = name.strip()[len(key.name) + 1 :]
        value: Any = {inner: text} if inner else _plain(key, text)
        found.append((key.name, value, "--set"))
    return found


def _plain(key: Key, text: str) -> Any:
    """Read a list or a table as JSON, all else as it is: the models turn text into numbers and truth values."""
    try:
        return json.loads(text) if key.open or key.listed else text
    except json.JSONDecodeError as error:
        raise ConfigError(f"--set {key.name}={text}: lists and tables are written as JSON ({error})") from error


def _known(name: str, known: Mapping[str, Key], source: str) -> str:
    """Return the key that a name means, `name` itself or the open key it lies in; raise if there is none."""
    if name in known:
        return name
    for key in known.values():
        if key.open and name.startswith(f"{key.name}."):
            return key.name
    guess = nearest(name, known)
    hint = f"did you mean {guess}?" if guess else "`hsnn config show` lists all keys"
    raise ConfigError(f"{source}: no configuration key is called {name}; {hint}")


def _sentence(problem: Mapping[str, Any], origins: Mapping[str, str]) -> str:
    place = [str(part) for part in problem["loc"]]
    name = ".".join(place)
    origin = next((origins[key] for key in origins if name == key or name.startswith(f"{key}.")), "default")
    return f"{origin}: {name} = {problem['input']!r}: {problem['msg']}"
