"""A copy of one table as it was at one moment, made row by row while the table changes."""

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
"""Bytes copied in one go."""
_TEXT = 512
"""What a text is reckoned to cost, in bytes of an array: it is encoded."""


class TableCopy:
    """Rows are copied in order by `advance`; those that change before it comes to them are put aside first.

    They are put in their places by `settle`, perhaps in another thread: in new arrays the system would make
    room for each of them, far apart as they are, while training waits.

    Parameters
    ----------
    table
    timed
        A context in which time counts as waiting.
    known
        Whether the rows that there are now are no news.

    Attributes
    ----------
    rows : int
        Rows of the moment.
    changed : (n,) int64
        Those of them that are new or may have changed since the moment before, ascending.
    arrays, texts
        The copy, with room for at least `rows`; of the moment once `complete` and settled.
    """

    def __init__(self, table: Table, timed: Callable[[], AbstractContextManager[None]], *, known: bool) -> None:
        self.table, self._timed = table, timed
        self.rows = table.rows() if known else 0
        self.changed: NDArray[np.int64] = np.zeros(0, np.int64)
        self.arrays: dict[str, Array] = {}
        self.texts = {name: ByteStringColumn() for name in table.texts}
        self._touched: NDArray[np.bool_] = np.zeros(0, np.bool_)
        self._waiting: NDArray[np.bool_] = np.zeros(0, np.bool_)
        self._order: NDArray[np.int64] | None = None  # None: all rows
        self._aside: list[tuple[NDArray[np.int64], dict[str, Array], dict[str, ByteStrings]]] = []
        self._at = self._end = 0
        self._room = -1
        table.barrier.subscribe(self._coming)

    @property
    def complete(self) -> bool:
        """Whether all rows of the moment are copied."""
        return self._at >= self._end

    def begin(self) -> None:
        """Fix the moment; the one before is complete."""
        self.settle()
        before, self.rows = self.rows, self.table.rows()
        touched = self._marks()
        touched[before : self.rows] = True
        self.changed = np.flatnonzero(touched[: self.rows])
        self._touched = np.zeros(len(touched), np.bool_)
        whole = self._make_room()
        self._order = None if whole else self.changed
        self._waiting = np.ones(self.rows, np.bool_) if whole else touched[: self.rows]
        self._at, self._end = 0, self.rows if whole else len(self.changed)
        width = sum(array[:1].nbytes for array in self.arrays.values()) + _TEXT * len(self.texts)
        self._slice = max(_SLICE // max(width, 1), 1)

    def advance(self) -> None:
        """Copy the next slice."""
        part = slice(self._at, min(self._at + self._slice, self._end))
        rows = part if self._order is None else self._order[part]
        columns = self.table.columns()
        for name, array in self.arrays.items():
            array[rows] = columns[name][rows]
        for name, texts in self.texts.items():
            numbers = np.arange(part.start, part.stop) if self._order is None else self._order[part]
            texts.write(numbers, self.table.texts[name](numbers))
        self._waiting[rows] = False
        self._at = part.stop

    def finish(self) -> None:
        """Copy all that is left."""
        while not self.complete:
            self.advance()

    def settle(self) -> None:
        """Put what was put aside in its places."""
        for rows, arrays, texts in self._aside:
            for name, values in arrays.items():
                self.arrays[name][rows] = values
            for name, packed in texts.items():
                self.texts[name].write(rows, packed)
        self._aside = []

    def _coming(self, rows: Rows) -> None:
        if not self.complete:
            with self._timed():
                self._rescue(rows)
        self._marks()[rows] = True

    def _rescue(self, rows: Rows) -> None:
        """Put those of some rows aside that were not copied yet; copy all, if they are many of what is left."""
        if isinstance(rows, slice) or 4 * np.size(rows) > self._end - self._at:
            self.finish()
            return
        asked = np.unique(np.asarray(rows, np.int64))
        asked = asked[slice(*np.searchsorted(asked, (0, self.rows)))]
        asked = asked[self._waiting[asked]]
        if len(asked):
            arrays = {name: column[asked] for name, column in self.table.columns().items()}
            self._aside.append((asked, arrays, {name: texts(asked) for name, texts in self.table.texts.items()}))
            self._waiting[asked] = False

    def _marks(self) -> NDArray[np.bool_]:
        """Rows touched since the last moment, as many as there is room for."""
        room = self.table.capacity()
        if len(self._touched) < room:
            bigger = np.zeros(room, np.bool_)
            bigger[: len(self._touched)] = self._touched
            self._touched = bigger
        return self._touched

    def _make_room(self) -> bool:
        """Make new arrays if there is no room for all rows; say whether they are new, and nothing is in them yet."""
        for texts in self.texts.values():
            texts.resize(self.rows)
        if self.rows <= self._room:
            return False
        columns = self.table.columns()
        self._room = self.rows + self.rows // 2 if columns else sys.maxsize
        for name, array in columns.items():
            self.arrays[name] = np.empty((self._room, *array.shape[1:]), array.dtype)
        return True
