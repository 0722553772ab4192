"""How the columns of files write ids, times, numbers and lists, and the SQL that reads them.

The notation of times and numbers is told from all values of a column together, since a single one may mean two things:
``05/06/2023`` two days, ``1,234`` two numbers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from hsnn.streaming.datasets.base import DataError
from hsnn.streaming.datasets.imported.sql import ImportDatabase, literal
from hsnn.streaming.schema.events import LAST_MS
from hsnn.streaming.schema.timestamps import UNITS, YEAR_1990, YEAR_2100

# Texts that stand for a missing id, in lower case.
_MISSING_IDS = ("", "none", "null", "nil", "nan", "na", "n/a", "#n/a", "<na>", "nat", "\\n", "undefined", "(not set)")

# Texts that stand for a missing value. "NA" is none of them: it is the country Namibia as well.
_MISSING_VALUES = ("", "None", "null", "NULL", "nan", "NaN", "<NA>", "NaT", "\\N", "undefined", "(not set)")

# Rows from which the notations of times that occur are told.
_SAMPLE = 10_000

_CLOCKS = ("", " %H:%M", " %H:%M:%S", " %H:%M:%S.%f", " %I:%M %p", " %I:%M:%S %p", ", %H:%M:%S", "T%H:%M:%S")

# Days in notations other than ISO 8601, each with every clock. The first two are told apart by all values together.
_DAYS = {
    "day/month/year": "%d/%m/%Y",
    "month/day/year": "%m/%d/%Y",
    "day.month.year": "%d.%m.%Y",
    "day-month-year": "%d-%m-%Y",
    "month-day-year": "%m-%d-%Y",
    "day month-name year": "%d %b %Y",
    "day-month-name-year": "%d-%b-%Y",
    "month-name day, year": "%b %d, %Y",
    "digits": "%Y%m%d",
}
_AMBIGUOUS = (("day/month/year", "month/day/year"), ("day-month-year", "month-day-year"))
_ZONED = {
    "ISO 8601 with an offset after a space": ("%Y-%m-%d %H:%M:%S %z", "%Y-%m-%d %H:%M:%S.%f %z"),
    "Go": ("%Y-%m-%d %H:%M:%S %z UTC", "%Y-%m-%d %H:%M:%S.%f %z UTC"),
    "e-mail (RFC 2822)": ("%a, %d %b %Y %H:%M:%S %z", "%d %b %Y %H:%M:%S %z", "%a, %d %b %Y %H:%M:%S %Z"),
    "web server log": ("%d/%b/%Y:%H:%M:%S %z",),
}
_DIGITS = ("%Y%m%d", "%Y%m%d%H%M%S", "%Y%m%d%H%M")

_NUMBER = r"^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$"

# Signs that prices are written with.
_SIGNS = r"[€$£¥\s\x{00A0}\x{202F}'\x{2019}]|EUR|USD|GBP|CHF"

_FLOATS = ("FLOAT", "DOUBLE")


@dataclass(frozen=True, slots=True)
class TimeNotation:
    """How a column writes its times.

    Attributes
    ----------
    sql
        Epoch ms of a time, null where it is none.
    says
        In words.
    """

    sql: str
    says: str


def is_number_type(kind: str) -> bool:
    """Return whether a type of DuckDB holds numbers."""
    return kind in _FLOATS or kind.startswith("DECIMAL") or (kind.endswith(("INT", "INTEGER")) and "[" not in kind)


def clean_text(sql: str) -> str:
    """Return SQL of a value as trimmed text, null where it is missing."""
    missing = ", ".join(literal(text) for text in _MISSING_VALUES)
    return f"(CASE WHEN trim({sql}) IN ({missing}) THEN NULL ELSE trim({sql}) END)"


def id_sql(sql: str, kind: str = "VARCHAR") -> str:
    """Return SQL of an id as text: ``3.0`` is 3; null where it is missing or no id."""
    if kind in _FLOATS or kind.startswith("DECIMAL"):
        # Beyond 2**53 a float does not say which whole number was meant.
        whole = f"{sql} = floor({sql}) AND abs({sql}) < 9007199254740992"
        return f"(CASE WHEN {whole} THEN CAST(CAST({sql} AS BIGINT) AS VARCHAR) END)"
    if kind != "VARCHAR":
        return f"CAST({sql} AS VARCHAR)"
    missing = ", ".join(literal(text) for text in _MISSING_IDS)
    whole = f"regexp_replace(trim({sql}), '^(-?[0-9]+)\\.0+$', '\\1')"
    return f"(CASE WHEN lower(trim({sql})) IN ({missing}) THEN NULL ELSE {whole} END)"


def list_sql(sql: str, separator: str, *, ids: bool = False) -> str:
    """Return SQL of a list of texts from one text; what is missing is left out.

    Parameters
    ----------
    separator
        ``json`` for a JSON list; lists as Python prints them are read, too.
    """
    if separator == "json":
        text = f"(CASE WHEN starts_with(trim({sql}), '[''') THEN replace({sql}, '''', '\"') ELSE {sql} END)"
        parts = f"[json_extract_string(v, '$') for v in TRY(json_extract({text}, '$[*]'))]"
    else:
        parts = f"string_split({sql}, {literal(separator)})"
    entry = id_sql("v") if ids else clean_text("v")
    return f"[{entry} for v in {parts} if {entry} IS NOT NULL]"


def find_times(con: ImportDatabase, source: str, sql: str, *, kind: str, field: str, given: str | None) -> TimeNotation:
    """Find out how the times of a column are written.

    Parameters
    ----------
    source
        SQL of the rows.
    given
        Format for `strptime` that the map names.

    Raises
    ------
    DataError
        The values are no times in any known notation, or may all mean two days.
    """
    if kind.startswith(("TIMESTAMP", "DATE")):
        return TimeNotation(f"epoch_ms(TRY_CAST({sql} AS TIMESTAMPTZ))", f"{kind.lower()} values")
    if given is not None:
        return TimeNotation(_zoned(f"try_strptime({clean_text(sql)}, {literal(given)})"), given)
    if is_number_type(kind):
        unit = _find_unit(con, source, f"CAST({sql} AS DOUBLE)", field)
        return TimeNotation(_in_unit(f"CAST({sql} AS DOUBLE)", unit), f"{unit} since 1970")
    if kind != "VARCHAR":
        raise DataError(f"{field} has the type {kind}, which is no time")
    return _find_text_times(con, source, clean_text(sql), field)


def find_decimals(con: ImportDatabase, source: str, columns: dict[str, str]) -> dict[str, tuple[str, float]]:
    """Find out how columns of text write numbers.

    Parameters
    ----------
    columns
        Name -> SQL of the text.

    Returns
    -------
    dict
        Name -> SQL of the number (null where it is none), and the share of the values that are numbers, 0 without any.
    """
    if not columns:
        return {}
    tests = {
        "all": "{x} IS NOT NULL",
        "plain": rf"regexp_matches({{x}}, '{_NUMBER}')",
        # a comma that cannot separate thousands
        "comma": r"regexp_matches({x}, '^[+-]?(\d+|\d{1,3}(\.\d{3})+),(\d{1,2}|\d{4,})$')",
        "dots": r"regexp_matches({x}, '^[+-]?\d{1,3}(\.\d{3})+(,\d+)?$')",
        "commas": r"regexp_matches({x}, '^[+-]?\d{1,3}(,\d{3})+(\.\d+)?$')",
    }
    cleaned = {name: f"regexp_replace({clean_text(sql)}, {literal(_SIGNS)}, '', 'g')" for name, sql in columns.items()}
    inner = ", ".join(f"{sql} AS x{number}" for number, sql in enumerate(cleaned.values()))
    counted = ", ".join(
        f"count(*) FILTER ({test.replace('{x}', f'x{number}')})"
        for number in range(len(cleaned))
        for test in tests.values()
    )
    counts = con.execute(f"SELECT {counted} FROM (SELECT {inner} FROM {source})")[0]
    found = {}
    for number, (name, sql) in enumerate(cleaned.items()):
        every, plain, comma, dots, commas = counts[number * len(tests) : (number + 1) * len(tests)]
        if comma:
            # With decimal commas, dots separate thousands: 1.234,50.
            read, fit = f"TRY_CAST(replace(replace({sql}, '.', ''), ',', '.') AS DOUBLE)", comma + max(dots, plain)
        else:
            read, fit = f"TRY_CAST(replace({sql}, ',', '') AS DOUBLE)", plain + commas
        share = 0.0 if not every else min(1.0, fit / every)
        found[name] = (f"(CASE WHEN isfinite({read}) THEN {read} END)", share)
    return found


def _find_text_times(con: ImportDatabase, source: str, x: str, field: str) -> TimeNotation:
    days = {name: _with_clocks(day) for name, day in _DAYS.items() if name != "digits"} | {"digits": list(_DIGITS)}
    tests = {
        "number": f"regexp_matches(x, '{_NUMBER}')",
        "ISO 8601": f"TRY_CAST(x AS TIMESTAMPTZ) IS NOT NULL AND NOT regexp_matches(x, '{_NUMBER}')",
        **{name: f"try_strptime(x, {_texts(formats)}) IS NOT NULL" for name, formats in days.items()},
        **{
            name: f"try_strptime(x, {literal(formats[0])}) IS NOT NULL"
            + "".join(f" OR try_strptime(x, {literal(other)}) IS NOT NULL" for other in formats[1:])
            for name, formats in _ZONED.items()
        },
    }
    sample = f"(SELECT x FROM (SELECT {x} AS x FROM {source}) WHERE x IS NOT NULL LIMIT {_SAMPLE})"
    counts = _count(con, sample, tests)
    # Of rival notations the one that reads more values, all of the column considered.
    for pair in _AMBIGUOUS:
        if min(counts[name] for name in pair) > 0:
            rows = f"(SELECT {x} AS x FROM {source})"
            _decide(con, rows, {name: tests[name] for name in pair}, counts=counts, field=field)
    parts, says = [], []
    digits = counts.pop("digits")
    numbers = counts.pop("number")
    if digits and digits >= numbers / 2:
        parts.append(_zoned(f"try_strptime({x}, {_texts(_DIGITS)})"))
        says.append("digits (20231115)")
    elif numbers:
        number = f"(CASE WHEN regexp_matches({x}, '{_NUMBER}') THEN TRY_CAST({x} AS DOUBLE) END)"
        unit = _find_unit(con, source, number, field)
        parts.append(_in_unit(number, unit))
        says.append(f"{unit} since 1970")
    for name, count in counts.items():
        if not count:
            continue
        says.append(name)
        if name == "ISO 8601":
            guard = f"CASE WHEN NOT regexp_matches({x}, '{_NUMBER}') THEN {x} END" if numbers or digits else x
            parts.append(_zoned(f"TRY_CAST({guard} AS TIMESTAMPTZ)"))
        elif name in _ZONED:
            parts += [_zoned(f"try_strptime({x}, {literal(form)})") for form in _ZONED[name]]
        else:
            parts.append(_zoned(f"try_strptime({x}, {_texts(days[name])})"))
    if not parts:
        row = con.first(f"SELECT x FROM {sample} LIMIT 1")
        if row is None:
            raise DataError(f"{field} has no values")
        raise DataError(f"{field}: {row[0]!r} is no time in any known notation; name its ts_format in the map")
    return TimeNotation(f"coalesce({', '.join(parts)})" if len(parts) > 1 else parts[0], " and ".join(says))


def _decide(con: ImportDatabase, rows: str, tests: dict[str, str], *, counts: dict[str, int], field: str) -> None:
    """Keep the one of two notations that reads more values; the other one's count becomes 0."""
    whole = _count(con, rows, tests)
    (left, most), (right, other) = whole.items()
    if most == other:
        row = con.execute(f"SELECT x FROM {rows} WHERE {tests[left]} LIMIT 1")[0]
        raise DataError(
            f"{field}: {row[0]!r} may be {left} or {right}, and so may every other row; name ts_format in the map, "
            'such as "%d/%m/%Y %H:%M"'
        )
    counts[right if most > other else left] = 0


def _count(con: ImportDatabase, rows: str, tests: dict[str, str]) -> dict[str, int]:
    columns = ", ".join(f"count(*) FILTER ({test})" for test in tests.values())
    return dict(zip(tests, con.execute(f"SELECT {columns} FROM {rows}")[0], strict=True))


def _find_unit(con: ImportDatabase, source: str, number: str, field: str) -> str:
    """Return the unit in which most of the numbers are times between 1990 and 2100."""
    tests = {name: f"x >= {YEAR_1990 * parts} AND x < {YEAR_2100 * parts}" for name, parts in UNITS.items()}
    counts = _count(con, f"(SELECT {number} AS x FROM {source})", tests)
    best = max(counts, key=lambda name: counts[name])
    if not counts[best]:
        row = con.first(f"SELECT x FROM (SELECT {number} AS x FROM {source}) WHERE x IS NOT NULL LIMIT 1")
        raise DataError(
            f"{field}: {'no value' if row is None else f'{row[0]:g}'} is no time between 1990 and 2100 in seconds, "
            "milliseconds, microseconds or nanoseconds since 1970"
        )
    return best


def _in_unit(number: str, unit: str) -> str:
    if unit == "seconds":
        return f"CAST(round({number} * 1000) AS BIGINT)"
    return f"CAST(floor({number} / {UNITS[unit] // 1000}) AS BIGINT)"


def _zoned(moment: str) -> str:
    return f"epoch_ms(CAST({moment} AS TIMESTAMPTZ))"


def _with_clocks(day: str) -> list[str]:
    return [day + clock for clock in _CLOCKS]


def _texts(values: list[str] | tuple[str, ...]) -> str:
    return f"[{', '.join(literal(value) for value in values)}]"


FIRST_MS: Final = YEAR_1990 * 1000
"""Events of before are refused: they are the zeros of databases (1970, 1900)."""

AFTER_MS: Final = YEAR_2100 * 1000
"""Events of then or later are refused."""

LAST_TIME: Final = LAST_MS
"""Ends of items that are later are this: databases write 9999 for never."""
