"""Columns by row that the trainer serves beside its own states: those of `hsnn.trainer.features.extra_tables`."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from hsnn.trainer.rowstore.arrays import Array, gather_rows, grown


class ServedTables:
    """Named columns by item row or by user row, overwritten by state deltas.

    Parameters
    ----------
    arrays
        A snapshot's arrays by item or by user; columns of tables are those called ``table.column``.

    Examples
    --------
    >>> tables = ServedTables({"clicks.count": np.array([3.0]), "tokens": np.zeros((1, 8))})
    >>> tables.put(np.array([2]), {"clicks.count": np.array([5.0])})
    >>> tables.gather("clicks.count", np.array([0, 2, 9])).tolist()
    [3.0, 5.0, 0.0]
    """

    def __init__(self, arrays: Mapping[str, Array]) -> None:
        self._columns = {name: np.array(array) for name, array in arrays.items() if "." in name}

    @property
    def names(self) -> list[str]:
        """Names of the columns."""
        return sorted(self._columns)

    def put(self, rows: NDArray[np.integer], columns: Mapping[str, Array]) -> None:
        """Overwrite `rows` (n,) with columns of a state delta."""
        size = int(rows.max(initial=-1)) + 1
        for name, values in columns.items():
            column = self._columns.get(name, np.zeros((0, *values.shape[1:]), values.dtype))
            self._columns[name] = grown(column, size)
            self._columns[name][rows] = values

    def gather(self, name: str, rows: NDArray[np.integer]) -> Array:
        """Copy a column's values of `rows` (n,); zero where none was sent yet."""
        column = self._columns[name] = grown(self._columns[name], int(rows.max(initial=-1)) + 1)
        return gather_rows(column, rows)
