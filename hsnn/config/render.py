"""Write the configuration as text: a commented TOML file, TOML with origins, and the table of the documentation."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from hsnn.config.digest import effective
from hsnn.config.keys import Key, flatten
from hsnn.config.loader import FORMAT, Loaded
from hsnn.config.schema import Config, known_keys
from hsnn.monitoring.duration import format_duration
from hsnn.trainer.config.presets import PRESETS

PRESET_KEYS = frozenset(f"trainer.model.{key}" for sizes in PRESETS.values() for key in sizes)
"""Keys that a preset sets; a generated file leaves them commented out, because a value there overrides the preset."""

_TABLE_HEADING = "| key | default | meaning |"


def show(loaded: Loaded) -> str:
    """Return the effective configuration as TOML, secrets masked, with the origin of every value that was set."""
    values = effective(loaded.config)
    lines: list[str] = []
    for key in _with_headings(lines):
        origin = f"  # {loaded.origins[key.name]}" if key.name in loaded.origins else ""
        lines.append(f"{_short_name(key)} = {_toml_value(key, values[key.name])}{origin}")
    return "\n".join(lines).lstrip("\n") + "\n"


def commented() -> str:
    """Return a TOML file with every key at its default, and its description as a comment."""
    values = dict(flatten(Config().model_dump(mode="json"), known_keys()))
    lines = ["# Configuration of hsnn. Every key is at its default; delete what you do not change."]
    lines += [
        "# Stronger than this file: the environment (HSNN_SECTION__KEY=...), then --set section.key=... of a command."
    ]
    lines += ['# Durations: "250ms", "10s", "5m", "2h", "1d". "none" where a value may be left open.']
    lines += [f"format = {FORMAT}"]
    for key in _with_headings(lines, described=True):
        if key.field.description:
            lines.append(f"# {key.field.description}")
        line = f"{_short_name(key)} = {_toml_value(key, values[key.name])}"
        lines.append(f"# {line}  # the preset sets it; a value here wins" if key.name in PRESET_KEYS else line)
    return "\n".join(lines) + "\n"


def rewritten(page: str) -> str:
    """Return a Markdown page with its table of keys, if there is one, replaced by the current one."""
    before, heading, after = page.partition(_TABLE_HEADING)
    rest = after.partition("\n\n")[2]
    return before + reference() + (f"\n{rest}" if rest else "") if heading else page


def reference() -> str:
    """Return the table of all keys as Markdown, for the documentation."""
    values = dict(flatten(Config().model_dump(mode="json"), known_keys()))
    rows = [_TABLE_HEADING, "|---|---|---|"]
    for key in known_keys().values():
        value = _toml_value(key, values[key.name]).replace("|", "\\|")
        meaning = (key.field.description or "").replace("|", "\\|")
        rows.append(f"| `{key.name}` | `{value}` | {meaning} |")
    return "\n".join(rows) + "\n"


def _with_headings(lines: list[str], described: bool = False) -> Iterator[Key]:
    """Yield the keys, and append the heading of each TOML table to `lines` before its first key."""
    section = None
    for key in known_keys().values():
        table = key.name.rpartition(".")[0]
        if table != section:
            section = table
            summary = _summary(table) if described else ""
            lines += ["", *([f"# {summary}"] if summary else []), f"[{table}]"]
        yield key


def _summary(section: str) -> str:
    """Return the first docstring line of the model of a section."""
    model: Any = Config
    for part in section.split("."):
        model = model.model_fields[part].annotation
    return (model.__doc__ or "").strip().partition("\n")[0] if issubclass(model, BaseModel) else ""


def _short_name(key: Key) -> str:
    return key.name.rpartition(".")[2]


def _toml_value(key: Key, value: Any) -> str:
    if key.duration and isinstance(value, int | float):
        return json.dumps(format_duration(value))
    return _toml(value)


def _toml(value: Any) -> str:
    if value is None:
        return '"none"'
    if isinstance(value, Mapping):
        set_ones = {name: part for name, part in value.items() if part is not None}  # inside, "none" is a text
        inner = ", ".join(f"{_toml_key(name)} = {_toml(part)}" for name, part in set_ones.items())
        return f"{{ {inner} }}" if inner else "{}"
    if isinstance(value, list):
        return f"[{', '.join(map(_toml, value))}]"
    return json.dumps(value)


def _toml_key(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else json.dumps(name)


if __name__ == "__main__":
    for page in map(Path, sys.argv[1:]):
        page.write_text(rewritten(page.read_text("utf-8")), "utf-8")
