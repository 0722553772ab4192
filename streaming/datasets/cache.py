"""Cache of fetched data sets: filled under a temporary name and renamed, so a folder that exists is complete."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path


def folder(name: str) -> Path:
    """Return the cache folder of a data set, under ``$HSNN_CACHE`` or ``~/.cache/hsnn``."""
    root = os.environ.get("HSNN_CACHE")
    return (Path(root).expanduser() if root else Path.home() / ".cache" / "hsnn") / "data" / name


def fill(target: Path, fetch: Callable[[Path], None]) -> Path:
    """Fill `target` by `fetch` unless it exists; of two processes at once, the first to finish wins."""
    if target.is_dir():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}-") as temporary:
        part = Path(temporary) / "part"
        part.mkdir()
        fetch(part)
        try:
            part.rename(target)
        except OSError:
            if not target.is_dir():
                raise
            shutil.rmtree(part)
    return target
