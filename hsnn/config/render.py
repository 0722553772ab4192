"""The configuration as text: a commented TOML file, a table with origins, a digest; secrets never leave it."""

from __future__ import annotations

import hashlib
import json
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from hsnn.config.keys import Key, flatten
from hsnn.config.loader import Config, Loaded, known_keys
from hsnn.monitoring.duration import format_duration
from hsnn.streaming.log.open import mask
from hsnn.trainer.config.presets import PRESETS

MASK = "***"
PRESET_KEYS = frozenset(f"trainer.model.{key}" for sizes in PRESETS.values() for key in sizes)
"""Keys that a preset sets: a file that names them all would leave it nothing to say."""
_TABLE = "| key | default | meaning |"
_NAME = re.compile(r"(?i)(?:^|[._-])(?:password|secret|token|passphrase)$")


def masked(text: str) -> str:
    """Hide the passwords in an address; leave any other text as it is.

    Examples
    --------
    >>> masked("redis://me:pa55@host:6379/0"), masked("10s")
    ('redis://me:***@host:6379/0', '10s')
    """
    hidden = mask(text) if "://" in text else text
    return hidden if MASK in hidden else text


def effective(config: Config) -> dict[str, Any]:
    """All keys by dotted name with their values as JSON values, secrets masked."""
    values = flatten(config.model_dump(mode="json"), known_keys())
    return {name: _hidden(name, value) for name, value in values}


def config_digest(config: Config) -> str:
    """SHA-256 of the effective configuration without its secrets, in hexadecimal: the same wherever it is computed."""
    return hashlib.sha256(json.dumps(effective(config), sort_keys=True).encode()).hexdigest()


def show(loaded: Loaded) -> str:
    """Return the effective configuration as TOML; what is not at its default says where it came from."""
    values = effective(loaded.config)
    lines: list[str] = []
    for key in _with_tables(lines):
        origin = f"  # {loaded.origins[key.name]}" if key.name in loaded.origins else ""
        lines.append(f"{_last(key)} = {_value(key, values[key.name])}{origin}")
    return "\n".join(lines).lstrip("\n") + "\n"


def commented() -> str:
    """Return a TOML file with every key at its default, and what it means as a comment."""
    values = dict(flatten(Config().model_dump(mode="json"), known_keys()))
    lines = ["# Configuration of hsnn. Every key is at its default; delete what you do not change."]
    lines += [
        "# Stronger than this file: the environment (HSNN_SECTION__KEY=...), then --set section.key=... of a command."
    ]
    lines += ['# Durations: "250ms", "10s", "5m", "2h", "1d". "none" where a value may be left open.']
    for key in _with_tables(lines, described=True):
        if key.field.description:
            lines.append(f"# {key.field.description}")
        line = f"{_last(key)} = {_value(key, values[key.name])}"
        lines.append(f"# {line}  # the preset sets it; a value here wins" if key.name in PRESET_KEYS else line)
    return "\n".join(lines) + "\n"


def rewritten(page: str) -> str:
    """Return a Markdown page whose table of keys, if it has one, is up to date."""
    before, heading, after = page.partition(_TABLE)
    rest = after.partition("\n\n")[2]
    return before + reference() + (f"\n{rest}" if rest else "") if heading else page


def reference() -> str:
    """Return the table of all keys for the documentation, as Markdown."""
    values = dict(flatten(Config().model_dump(mode="json"), known_keys()))
    rows = [_TABLE, "|---|---|---|"]
    for key in known_keys().values():
        value = _value(key, values[key.name]).replace("|", "\\|")
        meaning = (key.field.description or "").replace("|", "\\|")
        rows.append(f"| `{key.name}` | `{value}` | {meaning} |")
    return "\n".join(rows) + "\n"


def _with_tables(lines: list[str], described: bool = False) -> Iterator[Key]:
    """Yield the keys, and put the heading of every table in `lines` before its first key."""
    section = None
    for key in known_keys().values():
        here = key.name.rpartition(".")[0]
        if here != section:
            section = here
            about = _about(here) if described else ""
            lines += ["", *([f"# {about}"] if about else []), f"[{here}]"]
        yield key


def _about(section: str) -> str:
    model: Any = Config
    for part in section.split("."):
        model = model.model_fields[part].annotation
    return (model.__doc__ or "").strip().partition("\n")[0] if issubclass(model, BaseModel) else ""


def _last(key: Key) -> str:
    return key.name.rpartition(".")[2]


def _hidden(name: str, value: Any) -> Any:
    if isinstance(value, str):
        return MASK if value and _NAME.search(name) else masked(value)
    return {inner: _hidden(inner, part) for inner, part in value.items()} if isinstance(value, dict) else value


def _value(key: Key, value: Any) -> str:
    if key.duration and isinstance(value, int | float):
        return json.dumps(format_duration(value))
    return _toml(value)


def _toml(value: Any) -> str:
    if value is None:
        return '"none"'
    if isinstance(value, Mapping):
        inner = ", ".join(f"{_bare(name)} = {_toml(part)}" for name, part in value.items())
        return f"{{ {inner} }}" if inner else "{}"
    if isinstance(value, list):
        return f"[{', '.join(map(_toml, value))}]"
    return json.dumps(value)


def _bare(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else json.dumps(name)


if __name__ == "__main__":
    for page in map(Path, sys.argv[1:]):
        page.write_text(rewritten(page.read_text("utf-8")), "utf-8")
