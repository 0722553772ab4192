"""Merged rows that wait to become a batch."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from streaming.rows import KIND, Kind, Rows, concat, new_rows


class Ready:
    """A queue of merged rows that knows where its n-th interaction ends."""

    def __init__(self) -> None:
        self._rows = new_rows([], Kind.EMPTY)
        self._ends: NDArray[np.intp] = np.zeros(0, np.intp)
        self._row = 0
        self._interaction = 0

    def __len__(self) -> int:
        return len(self._rows) - self._row

    @property
    def interactions(self) -> int:
        """How many of the waiting rows are interactions."""
        return len(self._ends) - self._interaction

    def first(self) -> Rows:
        """Look at the first waiting row."""
        return self._rows[self._row : self._row + 1]

    def push(self, rows: Rows) -> None:
        """Add rows behind those that wait."""
        left = self._rows[self._row :]
        self._rows = concat([left, rows]) if len(left) else rows
        self._ends = np.flatnonzero(self._rows.column(KIND) == Kind.INTERACTION) + 1
        self._row = self._interaction = 0

    def take(self, interactions: int) -> Rows:
        """Take the rows up to the n-th interaction, or all if there are fewer."""
        whole = self._interaction + interactions > len(self._ends)
        stop = len(self._rows) if whole else int(self._ends[self._interaction + interactions - 1])
        self._interaction = min(len(self._ends), self._interaction + interactions)
        taken = self._rows[self._row : stop]
        self._row = stop
        return taken
