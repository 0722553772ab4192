"""Staging: the rows of files, read through a map, as tables of DuckDB with the reason where a row cannot be used."""

from __future__ import annotations

from dataclasses import dataclass

from hsnn.streaming.datasets.base import DataError
from hsnn.streaming.datasets.imported.files import ROW, OpenedFile
from hsnn.streaming.datasets.imported.mapping import Kind, TableMap
from hsnn.streaming.datasets.imported.notation import (
    AFTER_MS,
    FIRST_MS,
    LAST_TIME,
    clean_text,
    find_decimals,
    find_times,
    id_sql,
    is_number_type,
    list_sql,
)
from hsnn.streaming.datasets.imported.sql import ImportDatabase, identifier, literal
from hsnn.streaming.schema.ids import MAX_ID

COLUMNS: dict[Kind, str] = {
    "events": "ts BIGINT, user VARCHAR, item VARCHAR, action VARCHAR, value DOUBLE, id VARCHAR, impression VARCHAR, "
    "context VARCHAR",
    "impressions": "ts BIGINT, user VARCHAR, items VARCHAR[], id VARCHAR, context VARCHAR",
    "items": "id VARCHAR, title VARCHAR, ts BIGINT, available_from BIGINT, expires_at BIGINT, features VARCHAR",
    "users": "id VARCHAR, ts BIGINT, features VARCHAR",
}
"""Columns of each staging table, after `part`, `row`, `reason`, `lost` and `example`."""

# Characters of an action, and items of an impression, as in the event schema.
_MAX_ACTION, _MAX_SHOWN = 64, 1000

# Characters of a value that are shown as an example.
_EXAMPLE = 60


@dataclass(frozen=True, slots=True)
class Staged:
    """What one table of the map found in one file."""

    kind: Kind
    part: int
    file: OpenedFile
    notes: list[str]


@dataclass(frozen=True, slots=True)
class _Field:
    """A field of the map over the columns of a file: SQL, type, and its text for messages."""

    name: str
    sql: str
    kind: str

    @property
    def text(self) -> str:
        return self.sql if self.kind == "VARCHAR" else f"CAST({self.sql} AS VARCHAR)"


@dataclass(frozen=True, slots=True)
class _Check:
    """A condition under which a row, or only a value of it (`kept`), cannot be used; over raw and read columns."""

    condition: str
    reason: str
    raw: str
    kept: bool = False


def create_tables(con: ImportDatabase) -> None:
    """Create the empty staging tables."""
    for kind, columns in COLUMNS.items():
        con.execute(
            f"CREATE TABLE staged_{kind} (part INTEGER, row BIGINT, {columns}, reason VARCHAR, lost VARCHAR, "
            "example VARCHAR)"
        )


def stage(con: ImportDatabase, kind: Kind, table: TableMap, *, file: OpenedFile, part: int) -> Staged:
    """Read the rows of a file through one table of the map into its staging table.

    Raises
    ------
    DataError
        A field is no column and no expression, or a column has no notation that is known.
    """
    where = f"{file.name}, [{kind}]"
    source = _source(con, table, file, where)
    fields = _fields(con, table, file, source=source, where=where)
    try:
        con.set_timezone(table.timezone)
    except con.error as error:
        raise DataError(f"{where}: timezone {table.timezone!r} is not known ({str(error).splitlines()[0]})") from None
    try:
        reading = _Reading(con, table, source, fields=fields, where=where)
        builders = {
            "items": reading.item,
            "users": reading.user,
            "events": reading.event,
            "impressions": reading.shown,
        }
        read, checks = builders[kind]()
        raw = {name: fields[name].text for name in {check.raw for check in checks} & fields.keys()}
        extra = {f"raw {name}": sql for name, sql in raw.items()} | reading.extra
        _insert(con, kind, part, source=source, read=read, extra=extra, checks=checks)
    except con.error as error:
        raise DataError(f"{where}: {_first_line(error)}") from error
    finally:
        con.set_timezone("UTC")
    return Staged(kind, part, file, reading.notes)


def _source(con: ImportDatabase, table: TableMap, file: OpenedFile, where: str) -> str:
    each = ""
    if table.each is not None:
        each = f", unnest(json_extract({_resolve(table.each, file)}, '$[*]')) AS each"
    rows = f" WHERE {_resolve(table.where, file)}" if table.where is not None else ""
    source = f"(SELECT *{each} FROM {file.view}{rows})"
    try:
        con.execute(f"DESCRIBE SELECT * FROM {source}")
    except con.error as error:
        raise DataError(f"{where}: `each` or `where` cannot be used: {_first_line(error)}{_columns(file)}") from None
    return source


def _fields(con: ImportDatabase, table: TableMap, file: OpenedFile, *, source: str, where: str) -> dict[str, _Field]:
    given: dict[str, str] = {
        name: value
        for name in (
            "user",
            "item",
            "items",
            "ts",
            "action",
            "value",
            "id",
            "impression",
            "title",
            "available_from",
            "expires_at",
            "feature_object",
        )
        if (value := getattr(table, name)) is not None
    }
    given |= {f"context.{name}": value for name, value in table.context.items()}
    given |= {f"features.{name}": value for name, value in table.features.items()}
    found = {}
    for name, value in given.items():
        sql = f"({_resolve(value, file)})"
        try:
            kind = str(con.execute(f"DESCRIBE SELECT {sql} AS x FROM {source}")[0][1])
        except con.error as error:
            raise DataError(
                f"{where}: {name} = {value!r} is no column and no SQL expression over columns: "
                f"{_first_line(error)}{_columns(file)}"
            ) from None
        if kind == "JSON":
            sql, kind = f"json_extract_string({sql}, '$')", "VARCHAR"
        elif kind.endswith("[]") or kind.startswith(("STRUCT", "MAP")):
            sql, kind = f"CAST(to_json({sql}) AS VARCHAR)", "VARCHAR"
        found[name] = _Field(name, sql, kind)
    return found


def _resolve(value: str, file: OpenedFile) -> str:
    """Return a column as an identifier, anything else as it is."""
    if value in file.columns:
        return identifier(value)
    same = [column for column in file.columns if column.lower() == value.lower()]
    return identifier(same[0]) if same else value


def _columns(file: OpenedFile) -> str:
    return f"; the columns are {', '.join(file.columns)}"


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0]


class _Reading:
    """Builds the SQL that reads the fields of one table: (column -> SQL), and the checks of a row."""

    def __init__(
        self, con: ImportDatabase, table: TableMap, source: str, *, fields: dict[str, _Field], where: str
    ) -> None:
        self._con, self._table, self._source, self._fields, self._where = con, table, source, fields, where
        self.notes: list[str] = []
        self.extra: dict[str, str] = {}
        self._checks: list[_Check] = []
        numbers = [name for name in ("value",) if name in fields]
        numbers += [name for name in fields if name.partition(".")[2] in table.numbers]
        self._decimals = find_decimals(
            con, source, {name: fields[name].sql for name in numbers if fields[name].kind == "VARCHAR"}
        )

    def event(self) -> tuple[dict[str, str], list[_Check]]:
        read = {"ts": self._time("ts"), "user": self._id("user"), "item": self._id("item")}
        read["action"] = self._action()
        read["value"] = self._number("value", "value") if "value" in self._fields else "NULL"
        read["id"] = self._optional_id("id")
        read["impression"] = self._optional_id("impression")
        read["context"] = self._object("context")
        return read, self._checks

    def shown(self) -> tuple[dict[str, str], list[_Check]]:
        field = self._fields["items"]
        read = {"ts": self._time("ts"), "user": self._id("user")}
        read["items"] = list_sql(field.text, self._table.lists.get("items", "json"), ids=True)
        self._checks += [
            _Check("items IS NULL OR len(items) = 0", "items is no list of ids", "items"),
            _Check(f"len(items) > {_MAX_SHOWN}", f"items has more than {_MAX_SHOWN} entries", "items"),
        ]
        read["id"] = self._optional_id("id")
        read["context"] = self._object("context")
        return read, self._checks

    def item(self) -> tuple[dict[str, str], list[_Check]]:
        title = self._fields.get("title")
        return {
            "id": self._id("id"),
            "title": clean_text(title.text) if title else "NULL",
            "ts": self._optional_time("ts"),
            "available_from": self._optional_time("available_from"),
            "expires_at": self._optional_time("expires_at"),
            "features": self._object("features"),
        }, self._checks

    def user(self) -> tuple[dict[str, str], list[_Check]]:
        return {
            "id": self._id("id"),
            "ts": self._optional_time("ts"),
            "features": self._object("features"),
        }, self._checks

    def _id(self, name: str) -> str:
        field = self._fields[name]
        self._checks += [
            _Check(f"{name} IS NULL AND {_is_missing(name, field.kind)}", f"{name} is missing", name),
            _Check(f"{name} IS NULL", f"{name} is no whole number", name),
            _Check(f"length({name}) > {MAX_ID}", f"{name} has more than {MAX_ID} characters", name),
        ]
        return id_sql(field.sql, field.kind)

    def _optional_id(self, name: str) -> str:
        field = self._fields.get(name)
        return "NULL" if field is None else f"left({id_sql(field.sql, field.kind)}, {MAX_ID})"

    def _action(self) -> str:
        field = self._fields.get("action")
        if field is None:
            return literal("interact")
        self._checks += [
            _Check("action IS NULL", "action is missing", "action"),
            _Check(f"length(action) > {_MAX_ACTION}", f"action has more than {_MAX_ACTION} characters", "action"),
        ]
        return clean_text(field.text)

    def _time(self, name: str) -> str:
        sql = self._times(name)
        self._checks += [
            _Check(f"{name} IS NULL AND {_is_missing(name, self._fields[name].kind)}", f"{name} is missing", name),
            _Check(f"{name} IS NULL", f"{name} is no time", name),
            _Check(
                f"{name} < {FIRST_MS} OR {name} >= {AFTER_MS}", f"{name} is not between the years 1990 and 2100", name
            ),
        ]
        return sql

    def _optional_time(self, name: str) -> str:
        if name not in self._fields:
            return "NULL"
        try:
            sql = self._times(name)
        except DataError as error:
            self.notes.append(f"not read: {error}")
            return "NULL"
        missing = _is_missing(name, self._fields[name].kind)
        self._checks.append(_Check(f"{name} IS NULL AND NOT {missing}", f"{name} is no time", name, kept=True))
        return f"least(greatest({sql}, 0), {LAST_TIME})" if name != "ts" else f"greatest({sql}, 0)"

    def _times(self, name: str) -> str:
        field = self._fields[name]
        found = find_times(
            self._con,
            self._source,
            field.sql,
            kind=field.kind,
            field=f"{self._where}: {name}",
            given=self._table.ts_format,
        )
        zone = "" if "since 1970" in found.says else f", {self._table.timezone} where they name no zone"
        self.notes.append(f"{name}: {found.says}{zone}")
        return found.sql

    def _number(self, name: str, column: str) -> str:
        field = self._fields[name]
        if is_number_type(field.kind):
            x = f"CAST({field.sql} AS DOUBLE)"
            return f"(CASE WHEN isfinite({x}) THEN {x} END)"
        if field.kind != "VARCHAR":
            raise DataError(f"{self._where}: {name} has the type {field.kind}, which is no number")
        sql, _ = self._decimals[name]
        if "'.', ''" in sql:
            self.notes.append(f"{name.partition('.')[2] or name}: decimal commas")
        if column == "value":
            self._checks.append(
                _Check("value IS NULL AND NOT " + _is_missing("value", "VARCHAR"), "value is no number", "value")
            )
        return sql

    def _object(self, group: str) -> str:
        """Return SQL of the features, or the context, as a JSON object; null without any."""
        entries = []
        for name, field in self._fields.items():
            kind, _, key = name.partition(".")
            if kind == group and key:
                entries.append(f"{literal(key)}, {self._entry(name, key, field)}")
        made = f"json_object({', '.join(entries)})" if entries else None
        base = self._fields.get("feature_object") if group == "features" else None
        if base is None:
            return f"CAST({made} AS VARCHAR)" if made else "NULL"
        whole = f"coalesce(TRY_CAST({base.text} AS JSON), '{{}}')"
        return f"CAST(json_merge_patch({whole}, {made}) AS VARCHAR)" if made else f"CAST({whole} AS VARCHAR)"

    def _entry(self, name: str, key: str, field: _Field) -> str:
        if key in self._table.lists:
            return f"to_json({list_sql(field.text, self._table.lists[key])})"
        if key in self._table.numbers:
            number = self._number(name, key)
            if field.kind == "VARCHAR":
                self.extra[f"read {name}"] = number
                condition = (
                    f"{identifier('read ' + name)} IS NULL AND {clean_text(identifier('raw ' + name))} IS NOT NULL"
                )
                self._checks.append(_Check(condition, f"{key} is no number", name, kept=True))
            return number
        if field.kind == "BOOLEAN":
            return field.sql
        return clean_text(field.text) if field.kind == "VARCHAR" else clean_text(id_sql(field.sql, field.kind))


def _is_missing(name: str, kind: str) -> str:
    raw = identifier(f"raw {name}")
    return f"({id_sql(raw)} IS NULL)" if kind == "VARCHAR" else f"({raw} IS NULL OR {raw} = 'nan')"


def _insert(
    con: ImportDatabase,
    kind: Kind,
    part: int,
    *,
    source: str,
    read: dict[str, str],
    extra: dict[str, str],
    checks: list[_Check],
) -> None:
    inner = [f"{identifier(ROW)} AS row", *(f"{sql} AS {identifier(name)}" for name, sql in (read | extra).items())]
    fatal = [check for check in checks if not check.kept]
    lost = [check for check in checks if check.kept]
    con.execute(
        f"INSERT INTO staged_{kind} SELECT {part}, row, {', '.join(read)}, {_reasons(fatal)}, {_reasons(lost)}, "
        f"{_examples([*fatal, *lost])} FROM (SELECT {', '.join(inner)} FROM {source})"
    )


def _reasons(checks: list[_Check]) -> str:
    cases = " ".join(f"WHEN {check.condition} THEN {literal(check.reason)}" for check in checks)
    return f"CASE {cases} END" if cases else "NULL"


def _examples(checks: list[_Check]) -> str:
    cases = " ".join(
        f"WHEN {check.condition} THEN left(coalesce({identifier('raw ' + check.raw)}, ''), {_EXAMPLE})"
        for check in checks
    )
    return f"CASE {cases} END" if cases else "NULL"
