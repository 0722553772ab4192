"""Id table: text ids to dense rows, in arrays; new ids get rows in order of first appearance."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from hsnn.trainer.rowstore.arrays import Array
from hsnn.trainer.rowstore.hash_table import RowHashTable
from hsnn.trainer.rowstore.string_store import EncodedStrings, StringStore
from hsnn.trainer.rowstore.write_barrier import WriteBarrier

_CHUNK = 65_536
"""Ids decoded at once when a table is loaded: bounds the Python strings that exist at a time."""
Hash = Callable[[Sequence[str]], NDArray[np.int64]]


def hashes(names: Sequence[str]) -> NDArray[np.int64]:
    """64-bit hashes (n,) of texts: Python's own SipHash, keyed per process; no row depends on them."""
    return np.fromiter(map(hash, names), np.int64, len(names))


class IdTable:
    """A growing map from id to row, without a Python object per id.

    Ids are compared by their bytes, whatever their hashes are. Hashes differ from process to process (they cannot be
    chosen by who sends the ids); they only say where to look, and are made afresh when a table is restored.

    Attributes
    ----------
    ids : StringStore
        By row; what a removed row was called stays until the row is given to another id.
    barrier : WriteBarrier
        Of what rows are called.

    Examples
    --------
    >>> table = IdTable()
    >>> table.add(["b", "a", "b"]).tolist(), table.ids
    ([0, 1, 0], ['b', 'a'])
    >>> table.find(["a", "x"]).tolist()
    [1, -1]
    >>> table.remove(np.array([0]))
    >>> table.assign(np.array([0]), ["c"])
    >>> table.find(["b", "c"]).tolist(), len(table)
    ([-1, 0], 2)
    """

    def __init__(self, ids: Iterable[str] = (), *, hashed: Hash = hashes) -> None:
        self.ids = StringStore()
        self._slots = RowHashTable()
        self._hashed = hashed
        self.barrier = WriteBarrier()
        self.add(list(ids))

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def id_count(self) -> int:
        """How many ids have a row."""
        return len(self._slots)

    def __contains__(self, name: str) -> bool:
        return bool(self.find([name])[0] >= 0)

    @property
    def nbytes(self) -> int:
        """Memory held, in bytes."""
        return self.ids.nbytes + self._slots.nbytes

    def add(self, names: Sequence[str]) -> NDArray[np.int64]:
        """Return the rows of `names`, adding new ones: (n,) int64."""
        if not len(names):
            return np.zeros(0, np.int64)
        keys = self._hashed(names)
        rows = self._find(names, keys)
        missing = np.flatnonzero(rows < 0)
        if len(missing):
            rows[missing] = self._append([names[at] for at in missing.tolist()], keys[missing])
        return rows

    def find(self, names: Sequence[str]) -> NDArray[np.int64]:
        """Return the rows of `names`, -1 where unknown: (n,) int64."""
        return self._find(names, self._hashed(names)) if len(names) else np.zeros(0, np.int64)

    def row(self, name: str) -> int:
        """Return the row of one name, -1 if it is unknown: a tenth of the time of `find`."""
        found = self._slots.find_all(int(self._hashed([name])[0]))
        return next((row for row in found if self.ids[row] == name), -1)

    def assign(self, rows: NDArray[np.int64], names: Sequence[str]) -> None:
        """Assign unique `rows` (n,) without an id to unique `names` without a row."""
        self.barrier.before_write(rows[rows < len(self)])
        self._put(rows, names, self._hashed(names))

    def rename(self, rows: NDArray[np.int64], names: Sequence[str]) -> None:
        """Write what unique `rows` (n,) are called, without finding them by it; they have no id."""
        self.barrier.before_write(rows[rows < len(self)])
        self.ids.write(rows, EncodedStrings.from_strings(names))

    def remove(self, rows: NDArray[np.int64]) -> None:
        """Remove the ids of unique `rows` (n,)."""
        self._slots.remove(rows)

    def state_dict(self) -> dict[str, Array]:
        """Copy all ids by row as arrays; see `hsnn.trainer.rowstore.string_store.StringStore.state_dict`."""
        return self.ids.state_dict()

    def load_state_dict(self, arrays: Mapping[str, Array], vacant: NDArray[np.int64]) -> None:
        """Take over, in an empty table, what `state_dict` returned; the `vacant` rows (n,) were removed."""
        self.ids = StringStore.from_state_dict({name: array.copy() for name, array in arrays.items()})
        held = np.setdiff1d(np.arange(len(self.ids)), vacant)
        for start in range(0, len(held), _CHUNK):
            part = held[start : start + _CHUNK]
            self._slots.insert(part, self._hashed(self.ids.select(part)))

    def _find(self, names: Sequence[str], keys: NDArray[np.int64]) -> NDArray[np.int64]:
        rows = self._slots.find(keys)
        at = np.flatnonzero(rows >= 0)
        if not len(at):
            return rows
        asked = EncodedStrings.from_strings(names if len(at) == len(rows) else [names[one] for one in at.tolist()])
        for one in at[~self.ids.equal(rows[at], asked)].tolist():  # equal hashes of unlike ids
            others = [row for row in self._slots.find_all(int(keys[one])) if self.ids[row] == names[one]]
            rows[one] = others[0] if others else -1
        return rows

    def _append(self, names: list[str], keys: NDArray[np.int64]) -> NDArray[np.int64]:
        """Append names that have no row yet, each once, and return their rows (n,)."""
        places: dict[str, int] = {}
        order = np.array([places.setdefault(name, len(places)) for name in names], np.int64)
        rows = np.arange(len(self.ids), len(self.ids) + len(places))
        unique_keys = np.empty(len(places), np.int64)
        unique_keys[order] = keys
        self._put(rows, list(places), unique_keys)
        return rows[order]

    def _put(self, rows: NDArray[np.int64], names: Sequence[str], keys: NDArray[np.int64]) -> None:
        self.ids.write(rows, EncodedStrings.from_strings(names))
        self._slots.insert(rows, keys)
