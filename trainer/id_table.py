"""Id table: text ids to dense rows, in order of first appearance; rows are never reused."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray


class IdTable:
    """A growing map from id to row.

    Examples
    --------
    >>> table = IdTable()
    >>> table.add(["b", "a", "b"]).tolist(), table.ids
    ([0, 1, 0], ['b', 'a'])
    >>> table.find(["a", "x"]).tolist()
    [1, -1]
    """

    def __init__(self, ids: Iterable[str] = ()) -> None:
        self.ids = list(ids)
        self._rows = {name: row for row, name in enumerate(self.ids)}

    def __len__(self) -> int:
        return len(self.ids)

    def __contains__(self, name: str) -> bool:
        return name in self._rows

    def add(self, names: Sequence[str]) -> NDArray[np.int64]:
        """Rows of `names`, new ones appended: (n,) int64."""
        rows = self._rows
        found = [rows.setdefault(name, len(rows)) for name in names]
        if len(rows) > len(self.ids):
            self.ids.extend(_tail(rows, len(self.ids)))
        return np.array(found, np.int64)

    def find(self, names: Sequence[str]) -> NDArray[np.int64]:
        """Rows of `names`, -1 where unknown: (n,) int64."""
        rows = self._rows
        return np.array([rows.get(name, -1) for name in names], np.int64)


def _tail(rows: dict[str, int], start: int) -> list[str]:
    names = []
    for name in reversed(rows):
        if rows[name] < start:
            break
        names.append(name)
    return names[::-1]
