"""Read the configuration from arguments, environment variables, a TOML file and defaults, strongest first."""

from __future__ import annotations

import json
import os
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import ValidationError
from pydantic_settings import EnvSettingsSource, SettingsError

from hsnn.config.keys import Key, flatten, nearest, nested
from hsnn.config.masking import mask_value
from hsnn.config.schema import Config, known_keys
from hsnn.monitoring.errors import HsnnError

# Characters of a refused value in a message.
_LONGEST_VALUE = 200

# Read where no file is named, if the current folder has it.
DEFAULT_FILE = "hsnn.toml"

# Begins the names of environment variables that set keys.
ENV_PREFIX = "HSNN_"
FORMAT = 1
"""Number of the format of a configuration file, its key `format` at the top; larger with a release that renames keys or
changes what they mean. A file without it is of format 1."""
OTHER_VARIABLES = frozenset({"HSNN_CONFIG", "HSNN_CACHE", "HSNN_DATA", "HSNN_VENV", "HSNN_VENV_TAKE"})
"""Environment variables of the project that are not keys: configuration file, cache, data sets, virtual environment."""


class Setting(NamedTuple):
    """A value that a source gives to a key; `origin` names the source: ``--set``, a variable or a file."""

    key: str
    value: Any
    origin: str


class ConfigError(HsnnError):
    """The configuration cannot be used; the message names key, source and remedy."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """A configuration and the origins of its values.

    Attributes
    ----------
    config
    origins
        Source of every key that was set: ``--set``, an environment variable or a file.
    file
        The file that was read; None without one.
    file_format
        Number of its format.
    """

    config: Config
    origins: dict[str, str]
    file: Path | None = None
    file_format: int = FORMAT


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
    known, path = known_keys(), _existing_file(file)
    tree = {} if path is None else _read_file(path)
    file_format = _pop_format(tree, path)
    values: dict[str, Any] = dict(flatten(Config().model_dump(), known))
    origins: dict[str, str] = {}
    for name, value, origin in (
        *(Setting(_resolve_key(name, known, str(path)), value, str(path)) for name, value in flatten(tree, known)),
        *_from_environment(known),
        *_from_arguments(overrides, known),
    ):
        key = known[name]
        # A table with names of the user's own is merged entry by entry, so that sources add to one another.
        merged = {**values[name], **value} if key.open and isinstance(value, dict) else value
        values[name] = None if key.optional and merged == "none" else merged
        origins[name] = origin
    try:
        given = {name: values[name] for name in origins}  # without defaults: a preset must see what was not set
        return Loaded(Config(**nested(given.items())), origins, path, file_format)
    except ValidationError as error:
        raise ConfigError("; ".join(_describe_problem(dict(problem), origins) for problem in error.errors())) from error


def _existing_file(file: Path | None) -> Path | None:
    """Return the file to read: one that is named must exist, the default one may be missing."""
    named = file or (Path(os.environ["HSNN_CONFIG"]) if os.environ.get("HSNN_CONFIG") else None)
    path = named or Path(DEFAULT_FILE)
    return None if named is None and not path.exists() else path


def _read_file(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise ConfigError(
            f"cannot read {path}: {error.strerror}; `hsnn config init {path}` writes a configuration"
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not TOML: {error}") from error


def _pop_format(tree: dict[str, Any], path: Path | None) -> int:
    """Remove the number of the format from a file's content, and return it."""
    number = tree.pop("format", FORMAT)
    if not isinstance(number, int) or isinstance(number, bool) or number < 1:
        raise ConfigError(f"{path}: format = {number!r} is not the number of a format; `hsnn config init` writes one")
    if number > FORMAT:
        raise ConfigError(
            f"{path} has format {number}, and this release reads up to {FORMAT}: a newer release has written it; "
            "upgrade this one, or write the file anew with `hsnn config init`"
        )
    return number


def _from_environment(known: Mapping[str, Key]) -> list[Setting]:
    variables = {}  # of each key, so that an error names the variable
    for variable in os.environ:
        if variable.upper().startswith(ENV_PREFIX) and variable.upper() not in OTHER_VARIABLES:
            name = variable[len(ENV_PREFIX) :].lower().replace("__", ".")
            whole_section = any(key.startswith(f"{name}.") for key in known)  # set as JSON
            variables[name if whole_section else _resolve_key(name, known, variable)] = variable
    try:
        tree = EnvSettingsSource(Config, env_prefix=ENV_PREFIX, env_nested_delimiter="__", case_sensitive=False)()
    except SettingsError as error:
        raise ConfigError(f"environment: {error}; lists and tables are written as JSON") from error
    return [
        Setting(_resolve_key(name, known, "environment"), value, variables.get(name, "environment"))
        for name, value in flatten(tree, known)
    ]


def _from_arguments(overrides: Sequence[str], known: Mapping[str, Key]) -> list[Setting]:
    settings: list[Setting] = []
    for override in overrides:
        name, equals, text = override.partition("=")
        if not equals:
            raise ConfigError(f"--set {override}: write it as --set section.key=value")
        key = known[_resolve_key(name.strip(), known, "--set")]
        inner = name.strip()[len(key.name) + 1 :]
        value: Any = {inner: text} if inner else _parse_override(key, text)
        settings.append(Setting(key.name, value, "--set"))
    return settings


def _parse_override(key: Key, text: str) -> Any:
    """Parse lists and tables as JSON; leave other text to the models, which parse numbers and booleans."""
    try:
        return json.loads(text) if key.open or key.listed else text
    except json.JSONDecodeError as error:
        raise ConfigError(f"--set {key.name}={text}: lists and tables are written as JSON ({error})") from error


def _resolve_key(name: str, known: Mapping[str, Key], source: str) -> str:
    """Return the key of a name: itself, or the open key that contains it; raise if there is none."""
    if name in known:
        return name
    for key in known.values():
        if key.open and name.startswith(f"{key.name}."):
            return key.name
    guess = nearest(name, known)
    hint = f"did you mean {guess}?" if guess else "`hsnn config show` lists all keys"
    raise ConfigError(f"{source}: no configuration key is called {name}; {hint}")


def _describe_problem(problem: Mapping[str, Any], origins: Mapping[str, str]) -> str:
    message = str(problem["msg"]).removeprefix("Value error, ")
    if not problem["loc"]:  # a rule on several sections, which the message names
        return message
    place = [str(part) for part in problem["loc"]]
    name = ".".join(place)
    origin = next((origins[key] for key in origins if name == key or name.startswith(f"{key}.")), "default")
    given = problem["input"]  # of a rule on several keys the whole section, which the message names parts of
    value = "" if isinstance(given, Mapping) else f" = {_shown(place, given)}"
    return f"{origin}: {name}{value}: {message}"


def _shown(place: Sequence[str], given: Any) -> str:
    """Write a value that was refused: without secrets, and not at any length."""
    text = repr(mask_value(place[-1], given) if place else given)
    return text if len(text) <= _LONGEST_VALUE else f"{text[:_LONGEST_VALUE]}..."
