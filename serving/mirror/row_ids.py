"""Ids by row, which become known in any order; a row without a known id has an empty one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from hsnn.trainer.rowstore.id_table import IdTable
from hsnn.trainer.rowstore.string_store import StringStore

# Names that are looked up one by one: NumPy's calls for a batch take as long as a dozen look-ups.
_FEW = 12


class RowIds:
    """Map between ids and the trainer's rows, in arrays.

    Examples
    --------
    >>> ids = RowIds(["a"])
    >>> ids.assign([2], ["c"])
    >>> ids.rows(["c", "x"]).tolist(), ids.ids
    ([2, -1], ['a', '', 'c'])
    """

    def __init__(self, ids: Iterable[str] = ()) -> None:
        self._table = IdTable()
        names = list(ids)
        self.assign(range(len(names)), names)

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def ids(self) -> StringStore:
        """Texts by row."""
        return self._table.ids

    def assign(self, rows: Sequence[int], names: Sequence[str]) -> None:
        """Assign ids to rows, in order, in place of those before; an empty id leaves a row without one."""
        last = dict(zip(rows, names, strict=True))
        if not last:
            return
        index, given = np.fromiter(last, np.int64, len(last)), list(last.values())
        known = index[index < len(self)]
        before = self.ids.select(known)
        self._table.remove(known[self._found(before) == known])
        # of several rows with one id the last has it; a row that another one takes an id from keeps its text
        owner = {name: place for place, name in enumerate(given) if name}
        places = np.fromiter(owner.values(), np.int64, len(owner))
        taken = self._table.find(list(owner))
        self._table.remove(taken[taken >= 0])
        self._table.assign(index[places], list(owner))
        unnamed = np.setdiff1d(np.arange(len(given)), places)
        self._table.rename(index[unnamed], [given[place] for place in unnamed.tolist()])

    def row(self, name: str) -> int:
        """Row of `name`, -1 if unknown."""
        return self._table.row(name) if name else -1

    def rows(self, names: Sequence[str | int]) -> NDArray[np.int64]:
        """Rows of `names`, -1 where unknown: (n,) int64."""
        if len(names) <= _FEW:
            return np.array([self.row(str(name)) for name in names], np.int64)
        return self._found(list(map(str, names)))

    def _found(self, names: list[str]) -> NDArray[np.int64]:
        return np.where(np.fromiter(map(bool, names), np.bool_, len(names)), self._table.find(names), -1)
