"""Read the tables of a source from Parquet, or from CSV as publishers ship it."""

from __future__ import annotations

import gzip
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from hsnn.streaming.datasets.base import DataError

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
