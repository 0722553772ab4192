"""Reading the files of a source: Parquet, or CSV as publishers ship it."""

from __future__ import annotations

import gzip
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from hsnn.streaming.datasets.base import DataError

_ENDINGS = (".parquet", ".csv", ".csv.gz")


def find(folder: Path, *patterns: str) -> list[Path]:
    """Find the files under `folder` that match the first pattern with any match, by name; formats are not mixed.

    Patterns are given without their ending; ``.parquet``, ``.csv`` and ``.csv.gz`` are tried in this order.
    """
    for pattern in patterns:
        for ending in _ENDINGS:
            found = sorted(folder.glob(pattern + ending))
            if found:
                return found
    return []


def read(
    paths: Iterable[Path], columns: Sequence[str], text: Sequence[str] = (), renamed: Mapping[str, str] | None = None
) -> Any:
    """One Arrow table of the named columns of all files, one file after the other.

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
    parts = [_one(path, columns, text, renamed or {}) for path in paths]
    return pa.concat_tables(parts, promote_options="permissive")


def _one(path: Path, columns: Sequence[str], text: Sequence[str], renamed: Mapping[str, str]) -> Any:
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
