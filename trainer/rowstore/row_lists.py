"""Lists of numbers by row, of any lengths, in one array, without a Python object per list."""

from __future__ import annotations

import numpy as np
from numpy.typing import DTypeLike, NDArray

from hsnn.trainer.rowstore.arrays import Array, grown, span_indices


class RowLists:
    """A list of numbers for each row; one that outgrows its room moves to the end, into twice the room.

    Room that was left is wasted, until it is more than half of all: then everything is laid out anew.

    Examples
    --------
    >>> lists = RowLists(np.int32)
    >>> lists.write([0, 2], [[5, 6], [7]])
    >>> lists.extend(2, [8])
    >>> lists.remove(0, [5])
    >>> [lists[row].tolist() for row in range(4)]
    [[6], [], [7, 8], []]
    """

    def __init__(self, dtype: DTypeLike) -> None:
        self._rows = self._used = self._wasted = 0
        self._starts: NDArray[np.int64] = np.zeros(16, np.int64)
        self._lengths: NDArray[np.int32] = np.zeros(16, np.int32)
        self._room: NDArray[np.int32] = np.zeros(16, np.int32)
        self._numbers: Array = np.zeros(256, dtype)

    def __len__(self) -> int:
        return self._rows

    def __getitem__(self, row: int) -> Array:
        """Return the list of a row as a view, empty for rows beyond the last."""
        if row >= self._rows:
            return self._numbers[:0]
        start = int(self._starts[row])
        return self._numbers[start : start + int(self._lengths[row])]

    def write(self, rows: list[int], lists: list[Array] | list[list[int]]) -> None:
        """Replace the lists of unique `rows` (n,)."""
        if not rows:
            return
        index = np.array(rows, np.int64)
        lengths = np.fromiter(map(len, lists), np.int64, len(lists))
        self._make_room(index, lengths, kept=False)
        self._lengths[index] = lengths
        numbers = np.concatenate([np.asarray(one, self._numbers.dtype) for one in lists])
        self._numbers[span_indices(self._starts[index], lengths)] = numbers

    def extend(self, row: int, numbers: Array | list[int]) -> None:
        """Append numbers to the list of a row."""
        if not len(numbers):
            return
        index = np.array([row], np.int64)
        length = len(self[row])
        self._make_room(index, np.array([length + len(numbers)], np.int64), kept=True)
        start = int(self._starts[row]) + length
        self._numbers[start : start + len(numbers)] = numbers
        self._lengths[row] = length + len(numbers)

    def remove(self, row: int, numbers: Array | list[int]) -> None:
        """Remove numbers, each of which is once in the list of a row; the order of the others may change."""
        if row >= self._rows:
            return
        held = self[row]
        stay = held[~np.isin(held, numbers)]
        held[: len(stay)] = stay
        self._lengths[row] = len(stay)

    def pop(self, row: int, count: int) -> Array:
        """Take so many numbers, if there are, from the end of the list of a row: a copy of them, in order."""
        held = self[row]
        taken = held[max(len(held) - count, 0) :].copy()
        if len(taken):
            self._lengths[row] = len(held) - len(taken)
        return taken

    def _make_room(self, rows: NDArray[np.int64], lengths: NDArray[np.int64], *, kept: bool) -> None:
        """Give unique `rows` (n,) room for lists of `lengths` (n,), and take what they hold along if it is `kept`."""
        self._rows = max(self._rows, int(rows.max()) + 1)
        self._starts, self._lengths = grown(self._starts, self._rows), grown(self._lengths, self._rows)
        self._room = grown(self._room, self._rows)
        small = lengths > self._room[rows]
        rows, lengths = rows[small], lengths[small]
        if not len(rows):
            return
        if not kept:
            self._lengths[rows] = 0
        room = np.where(self._room[rows] > 0, 2 * lengths, lengths)  # most lists never grow
        self._wasted += int(self._room[rows].sum())
        if 2 * self._wasted > self._used + int(room.sum()):
            self._lay_out()
            self._wasted += int(self._room[rows].sum())
        starts = self._used + np.cumsum(room) - room
        self._used += int(room.sum())
        self._numbers = grown(self._numbers, self._used)
        held = self._lengths[rows].astype(np.int64)
        self._numbers[span_indices(starts, held)] = self._numbers[span_indices(self._starts[rows], held)]
        self._starts[rows], self._room[rows] = starts, room

    def _lay_out(self) -> None:
        """Lay all lists out in order, without room to grow."""
        lengths = self._lengths[: self._rows].astype(np.int64)
        numbers = self._numbers[span_indices(self._starts[: self._rows], lengths)]
        self._starts[: self._rows], self._room[: self._rows] = np.cumsum(lengths) - lengths, lengths
        self._used, self._wasted = len(numbers), 0
        self._numbers[: self._used] = numbers
