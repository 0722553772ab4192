"""Queue of merged rows that wait to become a batch."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hsnn.streaming.decode.event_table import EventTable, RowKind

MAX_SIDE_ROWS = 4096
"""Rows of the catalogue, dead letters and shed events after which a batch is closed without its interactions: they must
not pile up, and a catalogue of millions is read before the first interaction."""

# Row after the last one that a queue can hold: there is no such event yet.
_NO_ROW = 1 << 62


class BatchQueue:
    """A queue of merged rows that knows after which row a batch is full.

    Parameters
    ----------
    size
        Interactions of a full batch.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._rows = EventTable.with_size(0)
        self._first = 0  # rows before it were delivered; they go with the next `append`, not one batch after the other
        # Row after each waiting interaction, and after each waiting side row.
        self._interaction_ends = self._side_ends = np.zeros(0, np.intp)

    def __len__(self) -> int:
        return len(self._rows) - self._first

    @property
    def interactions(self) -> int:
        """Count the waiting interactions."""
        return len(self._interaction_ends)

    @property
    def side_rows(self) -> int:
        """Count the waiting rows of the catalogue, dead letters and shed events."""
        return len(self._side_ends)

    @property
    def full(self) -> bool:
        """Whether a whole batch waits."""
        return self.interactions >= self._size or self.side_rows >= MAX_SIDE_ROWS

    def head(self) -> EventTable:
        """Return the first waiting row without removing it."""
        return self._rows[self._first : self._first + 1]

    def append(self, rows: EventTable) -> None:
        """Add rows behind those that wait."""
        waiting = self._rows[self._first :]
        self._rows = EventTable.concat([waiting, rows]) if len(waiting) else rows
        self._first = 0
        self._interaction_ends = np.flatnonzero(self._rows.kind == RowKind.INTERACTION) + 1
        self._side_ends = np.flatnonzero(is_side_row(self._rows.kind)) + 1

    def pop_batch(self) -> EventTable:
        """Remove and return the rows of a full batch, or all if there are fewer."""
        stop = min(
            _nth_end(self._interaction_ends, self._size),
            _nth_end(self._side_ends, MAX_SIDE_ROWS),
            len(self._rows),
        )
        rows = self._rows[self._first : stop]
        self._first = stop
        self._interaction_ends = self._interaction_ends[self._interaction_ends > stop]
        self._side_ends = self._side_ends[self._side_ends > stop]
        return rows


def is_side_row(kinds: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Say which rows, by their kinds (n,), are of the catalogue, dead letters or shed, (n,)."""
    selected: NDArray[np.bool_] = ((kinds >= RowKind.ITEM) & (kinds <= RowKind.DEAD)) | (kinds == RowKind.SHED)
    return selected


def _nth_end(ends: NDArray[np.intp], n: int) -> int:
    """Return where the n-th ends; beyond everything if there are fewer."""
    return int(ends[n - 1]) if len(ends) >= n else _NO_ROW
