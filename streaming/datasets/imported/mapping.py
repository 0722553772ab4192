"""The map: which column, or SQL expression over columns, gives each field of events, items, users and impressions."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, Literal

import msgspec

from hsnn.streaming.datasets.base import DataError

Kind = Literal["events", "items", "users", "impressions"]
"""The tables of a map."""

KINDS: tuple[Kind, ...] = ("items", "users", "impressions", "events")
"""All tables, in the order in which they are read."""


class TableMap(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """How the rows of some files become rows of one table.

    A field is the name of a column, or an SQL expression of DuckDB over columns; quotes make a constant: ``"'view'"``.

    Attributes
    ----------
    files
        Names of the files, with ``*``; empty: all.
    where
        Rows that belong to this table; others are passed over.
    each
        A JSON list of the row: every element gives a row of its own, and is called ``each`` in the other fields.
    user, item, ts, action, value, id, impression
        Of events; `id` tells copies of an event, `impression` names the impression that it answers.
    items
        Of impressions: the list of items that were shown.
    title, available_from, expires_at
        Of items.
    timezone
        Of times that have none.
    ts_format
        How times are written (``%d/%m/%Y %H:%M``), where it cannot be told from the times.
    context
        Name -> field: what was known when the event happened.
    features
        Name -> field.
    feature_object
        A field that holds a JSON object of features.
    numbers
        Names of features, or of context, that are numbers; others are categories.
    lists
        Names of features, or ``items``, that are lists -> what separates their entries; ``json``: a JSON list.
    """

    files: tuple[str, ...] = ()
    where: str | None = None
    each: str | None = None
    id: str | None = None
    user: str | None = None
    item: str | None = None
    items: str | None = None
    ts: str | None = None
    action: str | None = None
    value: str | None = None
    impression: str | None = None
    title: str | None = None
    available_from: str | None = None
    expires_at: str | None = None
    timezone: str = "UTC"
    ts_format: str | None = None
    context: dict[str, str] = {}
    features: dict[str, str] = {}
    feature_object: str | None = None
    numbers: tuple[str, ...] = ()
    lists: dict[str, str] = {}

    def matches(self, name: str) -> bool:
        """Return whether the rows of a file belong to this table.

        Examples
        --------
        >>> TableMap(files=("orders*.csv",)).matches("orders-2.csv")
        True
        """
        return not self.files or any(fnmatch(name, pattern) for pattern in self.files)


_Tables = TableMap | list[TableMap]

FIELDS: dict[Kind, tuple[str, ...]] = {
    "events": ("user", "item", "ts", "action", "value", "id", "impression", "context"),
    "impressions": ("user", "items", "ts", "id", "context"),
    "items": ("id", "title", "ts", "available_from", "expires_at", "features", "feature_object"),
    "users": ("id", "ts", "features", "feature_object"),
}
"""Fields that each table may have."""

_REQUIRED: dict[Kind, tuple[str, ...]] = {
    "events": ("user", "item", "ts"),
    "impressions": ("user", "items", "ts"),
    "items": ("id",),
    "users": ("id",),
}

_GENERAL = ("files", "where", "each", "timezone", "ts_format", "numbers", "lists")


class FileMap(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A whole map: one table of a kind, or several, as ``[events]`` or ``[[events]]``."""

    events: _Tables = []
    items: _Tables = []
    users: _Tables = []
    impressions: _Tables = []

    def tables(self, kind: Kind) -> list[TableMap]:
        """Return the tables of a kind."""
        found: _Tables = getattr(self, kind)
        return [found] if isinstance(found, TableMap) else found


def read_map(path: Path) -> FileMap:
    """Read a map from a TOML file.

    Raises
    ------
    DataError
        The file cannot be read, or is no map.
    """
    try:
        return parse_map(tomllib.loads(path.read_text("utf-8")))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise DataError(f"the map {path} cannot be read: {error}") from error
    except DataError as error:
        raise DataError(f"the map {path}: {error}") from error


def parse_map(values: Mapping[str, Any]) -> FileMap:
    """Check the values of a map.

    Raises
    ------
    DataError
        A table or a field is unknown, missing, or of a wrong type.

    Examples
    --------
    >>> parse_map({"events": {"user": "u", "item": "i", "ts": "t"}}).tables("events")[0].item
    'i'
    """
    try:
        found = msgspec.convert(dict(values), FileMap)
    except msgspec.ValidationError as error:
        raise DataError(f"{error}; known tables: {', '.join(KINDS)}") from None
    for kind in KINDS:
        for table in found.tables(kind):
            _check(kind, table)
    if not found.tables("events"):
        raise DataError("there is no table [events]; it needs user, item and ts")
    return found


def render_map(found: FileMap) -> str:
    """Write a map as TOML, which `read_map` reads back.

    Examples
    --------
    >>> print(render_map(parse_map({"events": {"user": "u", "item": "i", "ts": "t"}})))
    [events]
    user = "u"
    item = "i"
    ts = "t"
    <BLANKLINE>
    """
    parts = []
    for kind in KINDS[::-1]:
        tables = found.tables(kind)
        head = f"[{kind}]" if len(tables) == 1 else f"[[{kind}]]"
        parts += [f"{head}\n{_render_table(table)}" for table in tables]
    return "\n".join(parts)


def _render_table(table: TableMap) -> str:
    values = msgspec.to_builtins(table)
    inner = {name: values.pop(name) for name in ("context", "features", "lists") if name in values}
    lines = [f"{name} = {json.dumps(value, ensure_ascii=False)}" for name, value in values.items()]
    for name, fields in inner.items():
        body = ", ".join(f"{_key(key)} = {json.dumps(value, ensure_ascii=False)}" for key, value in fields.items())
        lines.append(f"{name} = {{ {body} }}")
    return "\n".join(lines) + "\n"


def _key(name: str) -> str:
    bare = name.isascii() and name.replace("_", "").replace("-", "").isalnum()
    return name if bare else json.dumps(name, ensure_ascii=False)


def _check(kind: Kind, table: TableMap) -> None:
    given = set(msgspec.to_builtins(table)) - set(_GENERAL)
    unknown = sorted(given - set(FIELDS[kind]))
    if unknown:
        raise DataError(f"[{kind}] has no field {', '.join(unknown)}; it has {', '.join(FIELDS[kind])}")
    missing = [name for name in _REQUIRED[kind] if getattr(table, name) is None]
    if missing:
        raise DataError(f"[{kind}] lacks {', '.join(missing)}")
    several = {*table.features, *table.context, "items"}
    strays = [name for name in (*table.numbers, *table.lists) if name not in several]
    if strays:
        raise DataError(f"[{kind}] names {', '.join(strays)} in numbers or lists, but not in features or context")
