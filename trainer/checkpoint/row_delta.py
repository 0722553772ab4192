"""Tables in files: whole tables, changed rows, and whole tables assembled from both.

A file of changed rows has, of each table, its number of rows (``TABLE#count``), which of them it holds
(``TABLE#rows``), and these rows of every array under the array's name; texts are two arrays
(`hsnn.trainer.rowstore.byte_strings.byte_string_arrays`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from hsnn.trainer.checkpoint.safetensors_writer import Column
from hsnn.trainer.rowstore.arrays import Array, grown
from hsnn.trainer.rowstore.byte_strings import BYTES, LENGTHS, ByteStringColumn, byte_string_arrays, read_byte_strings
from hsnn.trainer.rowstore.copy_on_write import TableCopy

_ROWS, _COUNT = "#rows", "#count"
"""Ends of the names of a table's row numbers and of its length; no name of a table has a ``#``."""
_CHUNK = 16_384
"""Rows gathered at once, in the writing thread: so that the interpreter's lock is free in between."""


class TableRows:
    """What `hsnn.trainer.checkpoint.store.CheckpointStore.write` needs of complete copies of tables.

    Parameters
    ----------
    tables
    since
        Name of the checkpoint after which the rows in the copies' `changed` have changed; empty if there is none.
    """

    def __init__(self, tables: Sequence[TableCopy], since: str = "") -> None:
        self._tables, self.since = tables, since
        for table in tables:
            table.apply_saved()

    def lengths(self) -> dict[str, int]:
        """Return the first dimension of every array, by name."""
        return {name: column.shape[0] for name, column in self.whole().items()}

    def whole(self) -> dict[str, Column]:
        """Return all rows."""
        columns: dict[str, Column] = {}
        for table in self._tables:
            columns |= _columns({name: array[: table.rows] for name, array in table.arrays.items()})
            for name, texts in table.texts.items():
                columns |= _columns(byte_string_arrays(name, texts.compacted()))
        return columns

    def changed(self) -> dict[str, Column]:
        """Return the rows that changed."""
        columns: dict[str, Column] = {}
        for table in self._tables:
            rows, name = table.changed, table.table.name
            columns |= _columns({f"{name}{_ROWS}": rows, f"{name}{_COUNT}": np.array(table.rows)})
            columns |= {name: _gather_in_chunks(array, rows) for name, array in table.arrays.items()}
            for name, texts in table.texts.items():
                columns |= _columns(byte_string_arrays(name, texts.select(rows)))
        return columns


def assemble(files: Iterable[Mapping[str, Array]]) -> dict[str, Array]:
    """Assemble tables from the file of whole ones and the files of changed rows that followed, in order."""
    first, *others = files
    if not others:
        return dict(first)
    names = [name.removesuffix(LENGTHS) for name in first if name.endswith(LENGTHS)]
    texts = {name: ByteStringColumn() for name in names}
    for name, blobs in texts.items():
        packed = read_byte_strings(first, name)
        blobs.write(np.arange(len(packed.lengths)), packed)
    arrays = {name: np.array(array) for name, array in first.items() if not name.endswith((BYTES, LENGTHS))}
    for file in others:
        for name, blobs in texts.items():
            rows, count = _rows_of(file, name)
            blobs.resize(count)
            blobs.write(rows, read_byte_strings(file, name))
        for name, array in arrays.items():
            rows, count = _rows_of(file, name)
            arrays[name] = array = grown(array, count)  # what is beyond is left for a later file to write over
            array[rows] = file[name]
    out: dict[str, Array] = {name: array[: _rows_of(others[-1], name)[1]] for name, array in arrays.items()}
    for name, blobs in texts.items():
        out |= byte_string_arrays(name, blobs.compacted())
    return out


def _rows_of(file: Mapping[str, Array], name: str) -> tuple[NDArray[np.int64], int]:
    table = name.rpartition(".")[0]
    return file[f"{table}{_ROWS}"], int(file[f"{table}{_COUNT}"])


def _columns(arrays: Mapping[str, Array]) -> dict[str, Column]:
    return {name: Column.from_array(array) for name, array in arrays.items()}


def _gather_in_chunks(array: Array, rows: NDArray[np.int64]) -> Column:
    return Column(array.dtype, (len(rows), *array.shape[1:]), _chunks(array, rows))


def _chunks(array: Array, rows: NDArray[np.int64]) -> Iterator[Array]:
    for start in range(0, len(rows), _CHUNK):
        yield array[rows[start : start + _CHUNK]]
