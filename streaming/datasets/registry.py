"""Registry of the data sets: look up, fetch and load by name."""

from __future__ import annotations

import difflib
import os
from pathlib import Path
from typing import Any

from hsnn.streaming.datasets import cache
from hsnn.streaming.datasets.base import DataError, Dataset
from hsnn.streaming.datasets.facts import dataset_statistics
from hsnn.streaming.datasets.imported.store import DESCRIPTION, stored_source
from hsnn.streaming.datasets.source import Source
from hsnn.streaming.datasets.sources import SOURCES


def names() -> list[str]:
    """Return the names of all data sets: those that hsnn knows, and imported ones."""
    root = cache.folder("")
    imported = sorted(path.parent.name for path in root.glob(f"*/{DESCRIPTION}")) if root.is_dir() else []
    return [*SOURCES, *(name for name in imported if name not in SOURCES and not name.startswith("."))]


def source(name: str) -> Source:
    """Return the source of a data set.

    Raises
    ------
    DataError
        The name is unknown; the text suggests the nearest one.
    """
    if name in SOURCES:
        return SOURCES[name]
    if name and (imported := stored_source(name, cache.folder(name))) is not None:
        return imported
    known = names()
    near = difflib.get_close_matches(name, known, 1)
    raise DataError(
        f"no data set is called {name!r}{f'; did you mean {near[0]!r}?' if near else '.'} Known: {', '.join(known)}"
    )


def get(name: str) -> Path:
    """Return the cache folder of a data set; the first time it is fetched and verified, later used offline.

    Raises
    ------
    DataError
        It cannot be fetched, or its terms require users to fetch it themselves; the text says how.
    """
    known = source(name)
    target = cache.folder(name)
    if known.fetch is None and not target.is_dir():
        raise DataError(
            f"{name} is not fetched by hsnn. Terms: {known.terms}.\nFrom {known.homepage}: {known.obtain}.\n"
            f"Then write {name}:/path/to/folder"
        )
    return target if known.fetch is None else cache.fill(target, known.fetch)


def load(spec: str, limit: int | None = None) -> Dataset:
    """Load a data set.

    Parameters
    ----------
    spec
        ``NAME`` or ``NAME:FOLDER``. Without a folder: ``$HSNN_DATA/NAME`` if there is one, else the cache (see `get`).
        The folder of an imported data set may have any name.
    limit
        Engagement events (interactions and impressions) to take from the start.

    Raises
    ------
    DataError
        The name is unknown, the data set is missing, or cannot be read.
    """
    name, _, path = spec.partition(":")
    known = (stored_source(name, Path(path).expanduser()) if path else None) or source(name)
    if limit is not None and limit < 1:
        raise DataError(f"limit is {limit}; it counts engagements from the start and must be at least 1")
    return known.read(_folder(name, path), limit)


def describe(data: Dataset) -> dict[str, Any]:
    """Compute statistics of a loaded data set; see `hsnn.streaming.datasets.facts.dataset_statistics`."""
    return dataset_statistics(data)


def _folder(name: str, path: str) -> Path:
    if path:
        folder = Path(path).expanduser()
        if not folder.is_dir():
            raise DataError(f"{folder} is not a folder; {source(name).obtain}")
        return folder
    root = os.environ.get("HSNN_DATA")
    if root and (Path(root).expanduser() / name).is_dir():
        return Path(root).expanduser() / name
    return get(name)
