"""An open-addressing hash table from 64-bit hashes to rows, in arrays; a batch at a time."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hsnn.trainer.rowstore.arrays import grown

_EMPTY, _GONE = -1, -2
_FULL, _AFTER = 0.6, 0.3


class RowHashTable:
    """Linear probing over a power of two of slots, each a row, empty, or left behind by a removal.

    It grows when 0.6 of the slots are taken. Rows of equal hashes may be in it; the caller tells them apart.

    Examples
    --------
    >>> slots = RowHashTable()
    >>> slots.insert(np.array([0, 1]), np.array([77, 99]))
    >>> slots.find(np.array([99, 5, 77])).tolist()
    [1, -1, 0]
    >>> slots.remove(np.array([1]))
    >>> slots.find(np.array([99])).tolist(), len(slots)
    ([-1], 1)
    """

    def __init__(self) -> None:
        self._slots: NDArray[np.int32] = np.full(2048, _EMPTY, np.int32)
        self._hashes: NDArray[np.int64] = np.zeros(1024, np.int64)  # by row
        self._taken = self._held = 0

    def __len__(self) -> int:
        return self._held

    @property
    def nbytes(self) -> int:
        """Memory held, in bytes."""
        return self._slots.nbytes + self._hashes.nbytes

    def find(self, hashes: NDArray[np.int64]) -> NDArray[np.int64]:
        """First row of each hash, -1 where there is none: (n,)."""
        found = np.full(len(hashes), -1, np.int64)
        at, mask = np.arange(len(hashes)), len(self._slots) - 1
        place, wanted = hashes & mask, hashes
        while len(at):
            rows = self._slots[place]
            hit = self._hashes[rows] == wanted
            hit &= rows >= 0
            found[at[hit]] = rows[hit]
            on = np.flatnonzero(~hit & (rows != _EMPTY))
            at, wanted, place = at[on], wanted[on], (place[on] + 1) & mask
        return found

    def find_all(self, wanted: int) -> list[int]:
        """All rows of one hash, in the order in which they are probed."""
        mask, rows = len(self._slots) - 1, []
        place = wanted & mask
        while (row := int(self._slots[place])) != _EMPTY:
            if row >= 0 and self._hashes[row] == wanted:
                rows.append(row)
            place = (place + 1) & mask
        return rows

    def insert(self, rows: NDArray[np.int64], hashes: NDArray[np.int64]) -> None:
        """Add unique new rows (n,) under their hashes (n,)."""
        self._hashes = grown(self._hashes, int(rows.max(initial=-1)) + 1)
        self._hashes[rows] = hashes
        if self._taken + len(rows) > _FULL * len(self._slots):
            self._rebuild(len(rows))
        self._place(rows.astype(np.int32), hashes)

    def remove(self, rows: NDArray[np.int64]) -> None:
        """Take unique rows (n,) out."""
        mask, left = len(self._slots) - 1, rows
        place = self._hashes[rows] & mask
        while len(left):
            here = self._slots[place] == left
            self._slots[place[here]] = _GONE
            left, place = left[~here], (place[~here] + 1) & mask
        self._held -= len(rows)

    def _place(self, rows: NDArray[np.int32], hashes: NDArray[np.int64]) -> None:
        mask = len(self._slots) - 1
        place = hashes & mask
        self._held += len(rows)
        self._taken += len(rows)
        while len(rows):
            free = self._slots[place] == _EMPTY
            self._slots[place[free]] = rows[free]  # of several rows for one slot the last one has it
            left = self._slots[place] != rows
            rows, place = rows[left], (place[left] + 1) & mask

    def _rebuild(self, more: int) -> None:
        rows = np.sort(self._slots[self._slots >= 0])
        size = 2048
        while _AFTER * size < len(rows) + more and size < 2 * (len(rows) + more) / _FULL:
            size *= 2
        self._slots = np.full(size, _EMPTY, np.int32)
        self._taken = self._held = 0
        self._place(rows, self._hashes[rows])
