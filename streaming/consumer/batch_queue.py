"""Merged rows that wait to become a batch."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hsnn.streaming.decode.rows import KIND, RowKind, Rows, concat, no_rows

MAX_DISCARDED = 4096
"""Dead letters and dropped events after which a batch is full without its interactions: they must not pile up."""


class BatchQueue:
    """A queue of merged rows that knows where its n-th interaction and its n-th dead letter or dropped event end.

    Parameters
    ----------
    size
        Interactions of a full batch.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._rows = no_rows()
        self._ends = self._letters = np.zeros(0, np.intp)
        self._row = 0

    def __len__(self) -> int:
        return len(self._rows) - self._row

    @property
    def interactions(self) -> int:
        """How many of the waiting rows are interactions."""
        return len(self._ends)

    @property
    def discarded(self) -> int:
        """How many of them are dead letters or dropped."""
        return len(self._letters)

    @property
    def full(self) -> bool:
        """Whether a whole batch waits."""
        return self.interactions >= self._size or self.discarded >= MAX_DISCARDED

    def head(self) -> Rows:
        """Look at the first waiting row."""
        return self._rows[self._row : self._row + 1]

    def append(self, rows: Rows) -> None:
        """Add rows behind those that wait."""
        left = self._rows[self._row :]
        self._rows = concat([left, rows]) if len(left) else rows
        self._row = 0
        kinds = self._rows.column(KIND)
        self._ends = np.flatnonzero(kinds == RowKind.INTERACTION) + 1
        self._letters = np.flatnonzero(is_discarded(kinds)) + 1

    def pop_batch(self) -> Rows:
        """Take the rows of a full batch, or all if there are fewer."""
        stop = min(_last(self._ends, self._size), _last(self._letters, MAX_DISCARDED), len(self._rows))
        taken = self._rows[self._row : stop]
        self._row = stop
        self._ends, self._letters = (ends[ends > stop] for ends in (self._ends, self._letters))
        return taken


def is_discarded(kinds: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which rows, by their kinds (n,), are dead letters or dropped."""
    found: NDArray[np.bool_] = (kinds == RowKind.DEAD) | (kinds == RowKind.SHED)
    return found


def _last(ends: NDArray[np.intp], count: int) -> int:
    """Where the n-th ends; beyond everything if there are fewer."""
    return int(ends[count - 1]) if len(ends) >= count else 1 << 62
