"""A growing sparse matrix of several counts per cell: sorted keys, with a small sorted part for what is new."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_SMALL = 32_768
_SHIFT = 32


class _Part:
    """Sorted distinct keys (m,) with values (m, W)."""

    def __init__(self, keys: NDArray[np.int64], values: NDArray[np.float64]) -> None:
        self.keys, self.values = keys, values

    def add(self, keys: NDArray[np.int64], values: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Add to those of the distinct `keys` that are here; return which are."""
        at = np.searchsorted(self.keys, keys)
        here = np.zeros(len(keys), np.bool_)
        inside = at < len(self.keys)
        here[inside] = self.keys[at[inside]] == keys[inside]
        self.values[at[here]] += values[here]
        return here

    def with_new(self, keys: NDArray[np.int64], values: NDArray[np.float64]) -> _Part:
        """Both, `keys` (sorted) being new."""
        at = np.searchsorted(self.keys, keys)
        return _Part(np.insert(self.keys, at, keys), np.insert(self.values, at, values, axis=0))

    def row(self, row: int) -> slice:
        """Where the cells of a row are."""
        start, stop = np.searchsorted(self.keys, [row << _SHIFT, (row + 1) << _SHIFT])
        return slice(int(start), int(stop))


class SparseCounts:
    """Cells ``(row, column)`` of `width` numbers each.

    Adding costs a binary search per cell; new cells go to a small part first, which is merged when it has grown.

    Examples
    --------
    >>> counts = SparseCounts(1)
    >>> counts.add(np.array([3, 3, 5]), np.array([1, 1, 0]), np.ones((3, 1)))
    >>> [part.tolist() for part in counts.row(3)], len(counts)
    ([[1], [[2.0]]], 2)
    """

    def __init__(self, width: int) -> None:
        self._large, self._small = (_Part(np.zeros(0, np.int64), np.zeros((0, width))) for _ in range(2))

    def __len__(self) -> int:
        return len(self._large.keys) + len(self._small.keys)

    def add(self, rows: NDArray[np.integer], columns: NDArray[np.integer], values: NDArray[np.float64]) -> None:
        """Add `values` (n, width) at `rows` and `columns` (n,), which may repeat."""
        keys, inverse = np.unique((rows.astype(np.int64) << _SHIFT) | columns.astype(np.int64), return_inverse=True)
        sums = np.zeros((len(keys), values.shape[1]))
        np.add.at(sums, inverse, values)
        for part in (self._large, self._small):
            absent = ~part.add(keys, sums)
            keys, sums = keys[absent], sums[absent]
        self._small = self._small.with_new(keys, sums)
        if len(self._small.keys) > max(_SMALL, len(self._large.keys) // 8):
            self._large = self._large.with_new(self._small.keys, self._small.values)
            self._small = _Part(keys[:0], sums[:0])

    def row(self, row: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Columns (m,), distinct, and values (m, width) of a row."""
        parts = [(part, part.row(row)) for part in (self._large, self._small)]
        keys = np.concatenate([part.keys[cells] for part, cells in parts])
        return keys & ((1 << _SHIFT) - 1), np.concatenate([part.values[cells] for part, cells in parts])

    def scale(self, factors: NDArray[np.float64]) -> None:
        """Multiply every cell by `factors` (width,)."""
        for part in (self._large, self._small):
            part.values *= factors
