"""Copy-on-write: a copy of one table as it was at one moment, made in slices while the table changes."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import AbstractContextManager

import numpy as np
from numpy.typing import NDArray

from hsnn.trainer.rowstore.arrays import Array
from hsnn.trainer.rowstore.byte_strings import ByteStringColumn, ByteStrings
from hsnn.trainer.rowstore.table import Table
from hsnn.trainer.rowstore.write_barrier import Rows

_SLICE = 1 << 19
"""Bytes copied per slice: a fraction of a millisecond, far below the time of a training step."""
_TEXT = 512
"""Cost of a text, in bytes of an array that are copied in the same time: it is encoded first."""


class TableCopy:
    """Copies rows in order with every `advance`; rows about to change that were not copied yet are saved first.

    Saved rows are written into the copy by `apply_saved`, perhaps in another thread: writing them at once would touch
    new memory pages far apart, one page fault per row, while training waits.

    Parameters
    ----------
    table
    timed
        Makes a context whose duration counts as time that training waited.
    known
        Whether the rows that exist now are in a checkpoint already.

    Attributes
    ----------
    rows : int
        Rows of the moment.
    changed : (n,) int64
        Those of them that are new or may have changed since the moment before, ascending.
    arrays, texts
        The copy, with room for at least `rows`; valid once `complete` and after `apply_saved`.
    """

    def __init__(self, table: Table, timed: Callable[[], AbstractContextManager[None]], *, known: bool) -> None:
        self.table, self._timed = table, timed
        self.rows = table.rows() if known else 0
        self.changed: NDArray[np.int64] = np.zeros(0, np.int64)
        self.arrays: dict[str, Array] = {}
        self.texts = {name: ByteStringColumn(texts(np.zeros(0, np.int64)).bytes) for name, texts in table.texts.items()}
        self._dirty: NDArray[np.bool_] = np.zeros(0, np.bool_)
        self._uncopied: NDArray[np.bool_] = np.zeros(0, np.bool_)
        self._order: NDArray[np.int64] | None = None  # None: all rows
        self._saved: list[tuple[NDArray[np.int64], dict[str, Array], dict[str, ByteStrings]]] = []
        self._next = self._end = 0
        self._capacity = -1
        table.barrier.subscribe(self._before_write)

    @property
    def complete(self) -> bool:
        """Whether all rows of the moment are copied."""
        return self._next >= self._end

    def begin(self) -> None:
        """Begin the copy of the present moment; the copy before must be complete."""
        self.apply_saved()
        before, self.rows = self.rows, self.table.rows()
        dirty = self._dirty_mask()
        dirty[before : self.rows] = True
        self.changed = np.flatnonzero(dirty[: self.rows])
        self._dirty = np.zeros(len(dirty), np.bool_)
        whole = self._ensure_capacity()
        self._order = None if whole else self.changed
        self._uncopied = np.ones(self.rows, np.bool_) if whole else dirty[: self.rows]
        self._next, self._end = 0, self.rows if whole else len(self.changed)
        width = sum(array[:1].nbytes for array in self.arrays.values()) + _TEXT * len(self.texts)
        self._slice = max(_SLICE // max(width, 1), 1)

    def advance(self) -> None:
        """Copy the next slice."""
        part = slice(self._next, min(self._next + self._slice, self._end))
        rows = part if self._order is None else self._order[part]
        columns = self.table.columns()
        for name, array in self.arrays.items():
            array[rows] = columns[name][rows]
        for name, texts in self.texts.items():
            numbers = np.arange(part.start, part.stop) if self._order is None else self._order[part]
            texts.write(numbers, self.table.texts[name](numbers))
        self._uncopied[rows] = False
        self._next = part.stop

    def finish(self) -> None:
        """Copy all remaining rows."""
        while not self.complete:
            self.advance()

    def apply_saved(self) -> None:
        """Write the rows that were saved into the copy."""
        for rows, arrays, texts in self._saved:
            for name, values in arrays.items():
                self.arrays[name][rows] = values
            for name, packed in texts.items():
                self.texts[name].write(rows, packed)
        self._saved = []

    def _before_write(self, rows: Rows) -> None:
        if not self.complete:
            with self._timed():
                self._save(rows)
        self._dirty_mask()[rows] = True

    def _save(self, rows: Rows) -> None:
        """Save those of some rows that were not copied yet; copy all, if they are many of what is left."""
        if isinstance(rows, slice) or 4 * np.size(rows) > self._end - self._next:
            self.finish()
            return
        asked = np.unique(np.asarray(rows, np.int64))
        asked = asked[slice(*np.searchsorted(asked, (0, self.rows)))]
        asked = asked[self._uncopied[asked]]
        if len(asked):
            arrays = {name: column[asked] for name, column in self.table.columns().items()}
            self._saved.append((asked, arrays, {name: texts(asked) for name, texts in self.table.texts.items()}))
            self._uncopied[asked] = False

    def _dirty_mask(self) -> NDArray[np.bool_]:
        """Return the mask of rows written since the last moment, for all rows there is room for."""
        capacity = self.table.capacity()
        if len(self._dirty) < capacity:
            bigger = np.zeros(capacity, np.bool_)
            bigger[: len(self._dirty)] = self._dirty
            self._dirty = bigger
        return self._dirty

    def _ensure_capacity(self) -> bool:
        """Make new arrays if there is no room for all rows; return whether they are new, and hold no rows yet."""
        for texts in self.texts.values():
            texts.resize(self.rows)
        if self.rows <= self._capacity:
            return False
        columns = self.table.columns()
        self._capacity = self.rows + self.rows // 2 if columns else sys.maxsize
        for name, array in columns.items():
            self.arrays[name] = np.empty((self._capacity, *array.shape[1:]), array.dtype)
        return True
