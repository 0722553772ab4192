"""Import, validate and build data sets: what the command line and the public API call."""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from hsnn.streaming.datasets import cache
from hsnn.streaming.datasets.base import DataError, Dataset
from hsnn.streaming.datasets.imported.files import expand
from hsnn.streaming.datasets.imported.importer import ImportPlan, import_files
from hsnn.streaming.datasets.imported.mapping import FileMap, parse_map
from hsnn.streaming.datasets.imported.report import ImportReport
from hsnn.streaming.datasets.imported.store import DESCRIPTION, read_stored
from hsnn.streaming.datasets.sources import SOURCES

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


def import_dataset(
    name: str,
    paths: Sequence[Path],
    *,
    columns: FileMap | None = None,
    format: str | None = None,
    replace: bool = False,
    report: Callable[[str], None] = lambda _: None,
) -> tuple[Path, ImportReport]:
    """Import files as a data set into the cache; one of the same name is replaced as a whole, or not at all.

    Parameters
    ----------
    paths
        Files, or folders of files.
    columns
        The map; None: the columns are guessed, or known by `format`.
    replace
        Whether a data set of this name may be replaced.

    Raises
    ------
    DataError
        The name cannot be used, or see `hsnn.streaming.datasets.imported.importer.import_files`.
    """
    target = _target(name, replace)
    plan = ImportPlan(name, files=expand([*paths]), map=columns, format=format)
    return target, _fill(target, plan, report)


def validate_files(
    paths: Sequence[Path],
    *,
    columns: FileMap | None = None,
    format: str | None = None,
    report: Callable[[str], None] = lambda _: None,
) -> ImportReport:
    """Do what an import does, and keep nothing but what was found.

    Raises
    ------
    DataError
        See `import_dataset`.
    """
    plan = ImportPlan("validated", files=expand([*paths]), map=columns, format=format)
    with tempfile.TemporaryDirectory(prefix="hsnn-validate-") as folder:
        return import_files(plan, Path(folder), report)


def dataset_from_tables(
    name: str,
    events: Any,
    *,
    items: Any = None,
    users: Any = None,
    impressions: Any = None,
    columns: Mapping[str, Any] | None = None,
    keep: bool = False,
) -> Dataset:
    """Build a data set from tables in memory: of pandas, polars or pyarrow, or a dict of numpy arrays.

    Parameters
    ----------
    name
        Name of the data set.
    events
        One row per event, with a user, an item and a time.
    items, users, impressions
        As the tables of the same name in a map.
    columns
        The map, as in TOML: ``{"events": {"user": "visitor", "item": "sku", "ts": "created_at"}}``; None: guess.
    keep
        Whether to write it into the cache, so that `hsnn evaluate --data NAME` finds it; one of the same name is
        replaced.

    Raises
    ------
    DataError
        A table or a column cannot be read; see `import_dataset`.

    Examples
    --------
    >>> import numpy as np
    >>> clicks = {"user": np.array([7, 7]), "item": np.array(["a", "b"]), "ts": np.array([1.7e9, 1.7e9 + 60])}
    >>> data = dataset_from_tables("shop", clicks, items={"id": ["a"], "title": ["Tea pot"]})
    >>> data.engagements.user, data.title("a"), len(data.items)
    (['7', '7'], 'Tea pot', 2)
    """
    given = {"events": events, "items": items, "users": users, "impressions": impressions}
    tables = {kind: _to_arrow(kind, table) for kind, table in given.items() if table is not None}
    plan = ImportPlan(name, tables=tables, map=None if columns is None else parse_map(columns))
    if keep:
        target = _target(name, replace=True)
        _fill(target, plan, lambda _: None)
        return read_stored(target)
    with tempfile.TemporaryDirectory(prefix="hsnn-tables-") as folder:
        import_files(plan, Path(folder))
        return read_stored(Path(folder))


def _target(name: str, replace: bool) -> Path:
    if name in SOURCES:
        raise DataError(f"{name} is a data set that hsnn knows; choose another name")
    if not _NAME.fullmatch(name):
        raise DataError(f"{name!r} cannot be a name; use letters, digits, - and _")
    target = cache.folder(name)
    if target.exists() and not (target / DESCRIPTION).is_file():
        raise DataError(f"{target} exists and is no imported data set; choose another name")
    if target.exists() and not replace:
        raise DataError(f"there is a data set {name} already, in {target}; choose another name, or add --replace")
    return target


def _fill(target: Path, plan: ImportPlan, report: Callable[[str], None]) -> ImportReport:
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}-") as temporary:
        made, old = Path(temporary) / "made", Path(temporary) / "old"
        made.mkdir()
        found = import_files(plan, made, report)
        if target.exists():
            target.rename(old)
        made.rename(target)
        shutil.rmtree(old, ignore_errors=True)
    return found


def _to_arrow(kind: str, table: Any) -> Any:
    try:
        return pa.table(table)  # a dict of columns, or whatever offers the Arrow stream interface
    except (TypeError, ValueError, pa.ArrowException) as error:
        raise DataError(f"{kind} is no table of pandas, polars or pyarrow, and no dict of columns: {error}") from error
