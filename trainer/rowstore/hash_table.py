"""An open-addressing hash table from 64-bit hashes to rows, in arrays; a batch at a time."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hsnn.trainer.rowstore.arrays import grown

# What a slot holds instead of a row: nothing since the last rebuild, or a removed row (a probe goes on behind it).
_EMPTY, _REMOVED = -1, -2
# Load factors: the table is rebuilt at 0.6, before linear probing gets long, and is at most 0.3 full afterwards.
_MAX_LOAD, _LOAD_AFTER_REBUILD = 0.6, 0.3
# Slots at first.
_MIN_SLOTS = 2048


class RowHashTable:
    """Linear probing over a power of two of slots, each a row, empty, or of a removed row.

    It is rebuilt when 0.6 of the slots are used. Several rows may have the same hash; the caller tells them apart.

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
        self._slots: NDArray[np.int32] = np.full(_MIN_SLOTS, _EMPTY, np.int32)
        self._hashes: NDArray[np.int64] = np.zeros(1024, np.int64)  # by row
        self._taken = self._held = 0

    def __len__(self) -> int:
        return self._held

    @property
    def nbytes(self) -> int:
        """Memory held, in bytes."""
        return self._slots.nbytes + self._hashes.nbytes

    def find(self, hashes: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the first row of each hash, -1 where there is none: (n,)."""
        found = np.full(len(hashes), -1, np.int64)
        pending, mask = np.arange(len(hashes)), len(self._slots) - 1
        slot, wanted = hashes & mask, hashes
        while len(pending):  # one probe of all that are not decided yet
            rows = self._slots[slot]
            hit = self._hashes[rows] == wanted
            hit &= rows >= 0  # an empty slot's -1 has read some hash, too
            found[pending[hit]] = rows[hit]
            missed = np.flatnonzero(~hit & (rows != _EMPTY))
            pending, wanted, slot = pending[missed], wanted[missed], (slot[missed] + 1) & mask
        return found

    def find_all(self, wanted: int) -> list[int]:
        """Return all rows of one hash, in probing order."""
        mask, rows = len(self._slots) - 1, []
        slot = wanted & mask
        while (row := int(self._slots[slot])) != _EMPTY:
            if row >= 0 and self._hashes[row] == wanted:
                rows.append(row)
            slot = (slot + 1) & mask
        return rows

    def insert(self, rows: NDArray[np.int64], hashes: NDArray[np.int64]) -> None:
        """Add unique new rows (n,) under their hashes (n,)."""
        self._hashes = grown(self._hashes, int(rows.max(initial=-1)) + 1)
        self._hashes[rows] = hashes
        if self._taken + len(rows) > _MAX_LOAD * len(self._slots):
            self._rebuild(len(rows))
        self._place(rows.astype(np.int32), hashes)

    def remove(self, rows: NDArray[np.int64]) -> None:
        """Remove unique rows (n,)."""
        mask, pending = len(self._slots) - 1, rows
        slot = self._hashes[rows] & mask
        while len(pending):
            hit = self._slots[slot] == pending
            self._slots[slot[hit]] = _REMOVED
            pending, slot = pending[~hit], (slot[~hit] + 1) & mask
        self._held -= len(rows)

    def _place(self, rows: NDArray[np.int32], hashes: NDArray[np.int64]) -> None:
        mask = len(self._slots) - 1
        slot = hashes & mask
        self._held += len(rows)
        self._taken += len(rows)
        while len(rows):
            free = self._slots[slot] == _EMPTY
            self._slots[slot[free]] = rows[free]  # of several rows for one slot the last one gets it
            left = self._slots[slot] != rows
            rows, slot = rows[left], (slot[left] + 1) & mask

    def _rebuild(self, more: int) -> None:
        rows = np.sort(self._slots[self._slots >= 0])
        size = _MIN_SLOTS
        while _LOAD_AFTER_REBUILD * size < len(rows) + more and size < 2 * (len(rows) + more) / _MAX_LOAD:
            size *= 2
        self._slots = np.full(size, _EMPTY, np.int32)
        self._taken = self._held = 0
        self._place(rows, self._hashes[rows])
