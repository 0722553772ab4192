"""The registration of a table: all that growth, recycling, checkpoints, snapshots and deltas need to know of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from hsnn.trainer.rowstore.arrays import Array
from hsnn.trainer.rowstore.byte_strings import LENGTHS, ByteStrings, byte_string_arrays
from hsnn.trainer.rowstore.row_table import Columns, RowTable
from hsnn.trainer.rowstore.write_barrier import WriteBarrier

TextReader = Callable[[NDArray[np.integer]], ByteStrings]
"""Reads the texts of rows (n,), as bytes."""


class TableKind(StrEnum):
    """What the rows of a table are."""

    ITEM = "item"
    USER = "user"
    FEATURE = "feature"
    """Buckets of hashed features: their number never changes."""
    EVENT = "event"
    """Places of a ring of past events."""


@dataclass(frozen=True, slots=True)
class Table:
    """A registered table.

    Attributes
    ----------
    name
        Its arrays are called ``name.column`` in a checkpoint.
    kind
        What its rows are.
    size
        Returns how many of these there are now; they have the first rows.
    barrier
        Called before a row changes.
    data
        The columns; None for a table that has texts alone.
    texts
        Readers of texts by row, by their name in a checkpoint.
    managed
        The table as one that the learner grows and whose rows it resets; None where its owner does both.
    served
        Columns that readers get, and what they are called in a snapshot; empty if none. Those of texts are named with
        both of their suffixes.
    in_delta
        Whether the served columns are also part of every state delta, under the same names.
    optional
        Whether a checkpoint may lack it (it was written before the table was added): it starts empty then.
    """

    name: str
    kind: TableKind
    size: Callable[[], int]
    barrier: WriteBarrier
    data: Columns | None = None
    texts: Mapping[str, TextReader] = field(default_factory=dict)
    managed: RowTable | None = None
    served: Mapping[str, str] = field(default_factory=dict)
    in_delta: bool = False
    optional: bool = False

    def columns(self) -> dict[str, Array]:
        """Return the arrays in use, named as in a checkpoint."""
        columns = {} if self.data is None else self.data.columns()
        return {f"{self.name}.{column}": array for column, array in columns.items()}

    def load(self, arrays: Mapping[str, Array]) -> None:
        """Continue from the columns in a checkpoint's arrays."""
        if self.data is None:
            return
        names = {column: f"{self.name}.{column}" for column in self.data.columns()}
        if self.optional and not all(name in arrays for name in names.values()):
            return
        self.data.load_columns({column: arrays[name] for column, name in names.items()})

    def served_rows(self, rows: NDArray[np.integer]) -> dict[str, Array]:
        """Copy what readers get of `rows` (n,), named as in a snapshot."""
        columns = {} if self.data is None else self.data.columns()
        arrays = {column: columns[column][rows] for column in self.served if column in columns}
        for name, texts in self.texts.items():
            column = name.removeprefix(f"{self.name}.")
            if f"{column}{LENGTHS}" in self.served:
                arrays |= byte_string_arrays(column, texts(rows))
        return {name: arrays[column] for column, name in self.served.items()}

    def rows(self) -> int:
        """Return how many rows there are now; a table that is not in use has none."""
        return min(self.size(), self.capacity())

    def capacity(self) -> int:
        """Return how many rows the arrays have room for."""
        if self.data is None:
            return self.size()
        return min((len(array) for array in self.data.columns().values()), default=self.size())


def served_columns(tables: Iterable[Table], kind: TableKind) -> dict[str, str]:
    """Map the names of a snapshot's arrays by item or by user to those in a checkpoint."""
    return {
        name: f"{table.name}.{column}"
        for table in tables
        if table.kind == kind
        for column, name in table.served.items()
    }
