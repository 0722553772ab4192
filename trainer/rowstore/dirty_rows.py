"""Dirty rows: those that changed since the last delta was sent."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


class DirtyRows:
    """Collects rows until they are drained.

    Examples
    --------
    >>> dirty = DirtyRows()
    >>> dirty.add([3, 1, 3])
    >>> bool(dirty), dirty.drain().tolist(), bool(dirty)
    (True, [1, 3], False)
    """

    def __init__(self) -> None:
        self._parts: list[NDArray[np.int64]] = []

    def __bool__(self) -> bool:
        return bool(self._parts)

    def add(self, rows: Sequence[int] | NDArray[np.integer]) -> None:
        """Mark rows (n,)."""
        if len(rows):
            self._parts.append(np.asarray(rows, np.int64))

    def drain(self) -> NDArray[np.int64]:
        """Return the marked rows, once each and in order, and unmark them."""
        rows = np.unique(np.concatenate([*self._parts, np.zeros(0, np.int64)]))
        self._parts.clear()
        return rows
