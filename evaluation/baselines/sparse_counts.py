"""Growing sparse matrix with several counts per cell: sorted keys, and a small sorted part for new cells."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

# New cells, at least, before they are merged: few enough to insert into quickly, enough to merge rarely.
_MERGE_AFTER = 32_768

# Bits of a key below the row: a key is row * 2**32 + column, so cells of one row are neighbours.
_COLUMN_BITS = 32


class _SortedCells:
    """Sorted distinct keys (m,) with values (m, W)."""

    def __init__(self, keys: NDArray[np.int64], values: NDArray[np.float64]) -> None:
        self.keys, self.values = keys, values

    def add_existing(self, keys: NDArray[np.int64], values: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Add `values` to those of the distinct `keys` that exist; return which do."""
        index = np.searchsorted(self.keys, keys)
        exists = np.zeros(len(keys), np.bool_)
        inside = index < len(self.keys)
        exists[inside] = self.keys[index[inside]] == keys[inside]
        self.values[index[exists]] += values[exists]
        return exists

    def with_new(self, keys: NDArray[np.int64], values: NDArray[np.float64]) -> _SortedCells:
        """Return these cells and new ones; `keys` are sorted and none of them exists yet."""
        index = np.searchsorted(self.keys, keys)
        return _SortedCells(np.insert(self.keys, index, keys), np.insert(self.values, index, values, axis=0))

    def row_slice(self, row: int) -> slice:
        """Range of the cells of a row."""
        start, stop = np.searchsorted(self.keys, [row << _COLUMN_BITS, (row + 1) << _COLUMN_BITS])
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
        self._large, self._small = (_SortedCells(np.zeros(0, np.int64), np.zeros((0, width))) for _ in range(2))

    def __len__(self) -> int:
        return len(self._large.keys) + len(self._small.keys)

    def add(self, rows: NDArray[np.integer], columns: NDArray[np.integer], values: NDArray[np.float64]) -> None:
        """Add `values` (n, width) at `rows` and `columns` (n,), which may repeat."""
        cells = (rows.astype(np.int64) << _COLUMN_BITS) | columns.astype(np.int64)
        keys, inverse = np.unique(cells, return_inverse=True)
        sums = np.zeros((len(keys), values.shape[1]))
        np.add.at(sums, inverse, values)
        for part in (self._large, self._small):
            absent = ~part.add_existing(keys, sums)
            keys, sums = keys[absent], sums[absent]
        self._small = self._small.with_new(keys, sums)
        # In proportion to the large part, so that the cost of merging stays linear in the number of cells.
        if len(self._small.keys) > max(_MERGE_AFTER, len(self._large.keys) // 8):
            self._large = self._large.with_new(self._small.keys, self._small.values)
            self._small = _SortedCells(keys[:0], sums[:0])

    def row(self, row: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Columns (m,), distinct, and values (m, width) of a row."""
        parts = [(part, part.row_slice(row)) for part in (self._large, self._small)]
        keys = np.concatenate([part.keys[cells] for part, cells in parts])
        return keys & ((1 << _COLUMN_BITS) - 1), np.concatenate([part.values[cells] for part, cells in parts])

    def scale(self, factors: NDArray[np.float64]) -> None:
        """Multiply every cell by `factors` (width,)."""
        for part in (self._large, self._small):
            part.values *= factors
