"""Ids by row, which become known in any order; a row without a known id has an empty one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray


class RowIds:
    """Map between ids and the trainer's rows.

    Examples
    --------
    >>> ids = RowIds(["a"])
    >>> ids.assign(2, "c")
    >>> ids.rows(["c", "x"]).tolist(), ids.ids
    ([2, -1], ['a', '', 'c'])
    """

    def __init__(self, ids: Iterable[str] = ()) -> None:
        self.ids = list(ids)
        self._rows = {name: row for row, name in enumerate(self.ids) if name}

    def __len__(self) -> int:
        return len(self.ids)

    def assign(self, row: int, name: str) -> None:
        """Assign an id to a row, in place of the one before; an empty id leaves the row without one."""
        if row >= len(self.ids):
            self.ids.extend([""] * (row + 1 - len(self.ids)))
        if self._rows.get(self.ids[row]) == row:
            del self._rows[self.ids[row]]
        self.ids[row] = name
        if name:
            self._rows[name] = row

    def assign_first(self, names: Sequence[str]) -> None:
        """Assign ids to the first rows, as many as there are names."""
        if not self.ids:
            self.ids, self._rows = list(names), {name: row for row, name in enumerate(names) if name}
            return
        known = len(self.ids)
        for row, name in enumerate(names):
            if row >= known or name != self.ids[row]:
                self.assign(row, name)

    def row(self, name: str) -> int:
        """Row of `name`, -1 if unknown."""
        return self._rows.get(name, -1)

    def rows(self, names: Sequence[str | int]) -> NDArray[np.int64]:
        """Rows of `names`, -1 where unknown: (n,) int64."""
        rows = self._rows
        return np.array([rows.get(str(name), -1) for name in names], np.int64)
