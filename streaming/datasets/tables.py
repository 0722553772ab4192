"""Read the tables of a source from Parquet, or from CSV as publishers ship it, with its times and numbers."""

from __future__ import annotations

import gzip
import logging
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
from numpy.typing import NDArray

from hsnn.streaming.datasets.base import DataError

_log = logging.getLogger(__name__)

# Times as spreadsheets save them: ISO 8601, Continental, British, American; with and without seconds.
_FORMATS = tuple(
    f"{date} %H:%M{seconds}" for date in ("%Y-%m-%d", "%d.%m.%Y", "%d/%m/%Y", "%m/%d/%Y") for seconds in ("", ":%S")
)

# Endings of readable files, in order of preference: Parquet has types and loads fastest.
_ENDINGS = (".parquet", ".csv", ".csv.gz")


def find(folder: Path, *patterns: str) -> list[Path]:
    """Find the files under `folder` of the first pattern that matches any, sorted by name; formats are not mixed.

    Patterns are given without their ending; ``.parquet``, ``.csv`` and ``.csv.gz`` are tried in this order.
    """
    for pattern in patterns:
        for ending in _ENDINGS:
            paths = sorted(folder.glob(pattern + ending))
            if paths:
                return paths
    return []


def read(
    paths: Iterable[Path], columns: Sequence[str], text: Sequence[str] = (), renamed: Mapping[str, str] | None = None
) -> Any:
    """Read columns of all files into one Arrow table, one file after the other.

    Parameters
    ----------
    paths
        Parquet or CSV files with the same columns; a CSV file's header tells its delimiter, comma or semicolon.
    columns
        What to keep.
    text
        Columns that CSV must not read as numbers.
    renamed
        Other names that some editions of the files use -> the name in `columns`.

    Raises
    ------
    DataError
        A file cannot be read or lacks a column.
    """
    parts = [_read_file(path, columns, text, renamed or {}) for path in paths]
    return pa.concat_tables(parts, promote_options="permissive")


def _read_file(path: Path, columns: Sequence[str], text: Sequence[str], renamed: Mapping[str, str]) -> Any:
    try:
        table = pq.read_table(path) if path.suffix == ".parquet" else _csv(path, text)
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read ({error}); fetch it again") from error
    table = table.rename_columns([renamed.get(name, name) for name in table.column_names])
    missing = [name for name in columns if name not in table.column_names]
    if missing:
        raise DataError(f"{path} has no column {', '.join(missing)}; it has {', '.join(table.column_names)}")
    return table.select(list(columns))


def _csv(path: Path, text: Sequence[str]) -> Any:
    opened: Any = gzip.open if path.suffix == ".gz" else open
    with opened(path, "rt", encoding="utf-8") as file:
        header = file.readline()
    return pa_csv.read_csv(
        path,
        parse_options=pa_csv.ParseOptions(delimiter=";" if header.count(";") > header.count(",") else ","),
        convert_options=pa_csv.ConvertOptions(column_types=dict.fromkeys(text, pa.string())),
    )


def drop_incomplete(table: Any, columns: Sequence[str], source: str) -> Any:
    """Leave out the rows of a table that lack a value of `columns`, and say how many there were.

    Raises
    ------
    DataError
        No row is complete.
    """
    complete = np.ones(len(table), np.bool_)
    for name in columns:
        column = table[name]
        complete &= column.is_valid().to_numpy()
        if pa.types.is_floating(column.type):
            complete &= ~pc.fill_null(pc.is_nan(column), False).to_numpy()
    missing = len(table) - int(np.count_nonzero(complete))
    if not missing:
        return table
    if missing == len(table):
        raise DataError(f"{source}: every one of {missing:,} rows lacks a value of {', '.join(columns)}")
    names = " or ".join(columns)
    _log.warning("%s", f"{source}: {missing} of {len(table)} rows lack a value of {names} and are left out")
    return table.filter(pa.array(complete))


def to_millis(column: Any, name: str) -> NDArray[np.int64]:
    """Return times (n,) as epoch ms, from timestamps or texts; texts without a time zone are UTC.

    Raises
    ------
    DataError
        A text is no time in any known notation, or may mean two days.

    Examples
    --------
    >>> to_millis(pa.array(["15/11/2023 04:52"]), "date") == to_millis(pa.array(["11/15/2023 4:52"]), "date")
    array([ True])
    """
    if not (pa.types.is_string(column.type) or pa.types.is_large_string(column.type)):
        try:
            millis: NDArray[np.int64] = column.cast(pa.timestamp("ms")).cast(pa.int64()).to_numpy()
        except pa.ArrowException as error:
            raise DataError(f"column {name} has type {column.type}; times are needed ({error})") from None
        return millis
    found = [pc.strptime(column, format=text, unit="ms", error_is_null=True) for text in _FORMATS]
    read = [times.cast(pa.int64()).to_numpy() for times in found if times.null_count == column.null_count]
    if not read:
        longest = min(found, key=lambda times: int(times.null_count))
        failed = column.filter(pc.and_(longest.is_null(), column.is_valid()))
        raise DataError(
            f"column {name}: {failed[0].as_py()!r} is no time like those of the other rows; write "
            "2023-11-15 04:52:00, the same in every row"
        )
    if any(not np.array_equal(times, read[0]) for times in read):
        raise DataError(
            f"column {name}: {column[0].as_py()!r} may mean two days, and so may every other row; write "
            "2023-11-15 04:52:00"
        )
    first: NDArray[np.int64] = read[0]
    return first


def to_numbers(column: Any, name: str) -> Any:
    """Return a column as float64, also of texts with a decimal comma.

    Raises
    ------
    DataError
        A text is no number.

    Examples
    --------
    >>> to_numbers(pa.array(["2,55", "3"]), "price").to_pylist()
    [2.55, 3.0]
    """
    texts = column
    if pa.types.is_string(column.type):
        texts = pc.replace_substring(column, ",", ".")
    try:
        return texts.cast(pa.float64())
    except pa.ArrowException as error:
        raise DataError(f"column {name} holds what is no number ({error})") from None
