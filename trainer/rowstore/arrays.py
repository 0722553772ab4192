"""Named NumPy arrays as bytes (safetensors), and growth of row-indexed arrays."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, BinaryIO

import msgspec
import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load, save

Array = NDArray[Any]

DTYPES = {
    "BOOL": np.bool_,
    "U8": np.uint8,
    "I8": np.int8,
    "U16": np.uint16,
    "I16": np.int16,
    "F16": np.float16,
    "U32": np.uint32,
    "I32": np.int32,
    "F32": np.float32,
    "U64": np.uint64,
    "I64": np.int64,
    "F64": np.float64,
}
"""Types of NumPy by those of safetensors."""


def pack(arrays: Mapping[str, Array]) -> bytes:
    """Write named arrays as one safetensors blob.

    Examples
    --------
    >>> unpack(pack({"a": np.arange(3)}))["a"].tolist()
    [0, 1, 2]
    >>> unpack(pack({"a": np.array(3.0)}))["a"].shape
    ()
    """
    return save({name: np.asarray(array, order="C") for name, array in arrays.items()})


def unpack(blob: bytes) -> dict[str, Array]:
    """Read what `pack` wrote."""
    return dict(load(blob))


def read_arrays(file: BinaryIO) -> dict[str, Array]:
    """Read what `pack` wrote from a file, straight into arrays of their own: nothing is held twice.

    Raises
    ------
    EOFError
        The file ends before its last array does.

    Examples
    --------
    >>> import io
    >>> read_arrays(io.BytesIO(pack({"a": np.arange(3), "b": np.array(True)})))
    {'a': array([0, 1, 2]), 'b': array(True)}
    """
    header = msgspec.json.decode(file.read(int.from_bytes(file.read(8), "little")))
    arrays: dict[str, Array] = {}
    for name in sorted(header, key=lambda name: tuple(header[name].get("data_offsets", ()))):
        if name == "__metadata__":
            continue
        arrays[name] = array = np.empty(header[name]["shape"], DTYPES[header[name]["dtype"]])
        if array.size and file.readinto(array.reshape(-1).view(np.uint8).data) != array.nbytes:  # type: ignore[attr-defined]
            raise EOFError(f"the array {name} is cut short")
    return arrays


def select_prefix(arrays: Mapping[str, Array], prefix: str) -> dict[str, Array]:
    """Select the arrays whose name begins with `prefix`, by the rest of their name.

    Examples
    --------
    >>> sorted(select_prefix({"a.x": np.zeros(1), "a.y": np.zeros(1), "b.x": np.zeros(1)}, "a."))
    ['x', 'y']
    """
    return {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}


def grown(array: Array, rows: int, fill: float = 0) -> Array:
    """Return `array` if it has `rows` rows, else a copy of at least twice its size, new rows filled with `fill`."""
    if rows <= len(array):
        return array
    shape = max(rows, 2 * len(array)), *array.shape[1:]
    # Zeroed pages cost nothing until they are written to: three times as fast as to fill them.
    bigger = np.empty(shape, array.dtype) if fill else np.zeros(shape, array.dtype)
    bigger[: len(array)] = array
    if fill:
        bigger[len(array) :] = fill
    return bigger


def gather_rows(array: Array, rows: NDArray[np.integer] | slice) -> Array:
    """Copy rows of `array`, (n, ...): as indexing does, in a third of the time where rows are short."""
    return array[rows] if isinstance(rows, slice) else array.take(rows, axis=0)


def cut_of_queries(query: NDArray[np.int64], queries: slice) -> slice:
    """Return where a range of queries lies in `query` (n,), which ascends.

    Examples
    --------
    >>> cut_of_queries(np.array([0, 0, 2, 3]), slice(1, 3))
    slice(2, 3, None)
    """
    return slice(*np.searchsorted(query, (queries.start, queries.stop)).tolist())


def span_indices(starts: NDArray[np.int64], lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the indices of all elements of spans, in order: they begin at `starts` (n,) and have `lengths` (n,).

    Examples
    --------
    >>> span_indices(np.array([7, 2]), np.array([2, 3])).tolist()
    [7, 8, 2, 3, 4]
    """
    shifts = starts - (np.cumsum(lengths) - lengths)
    places: NDArray[np.int64] = np.arange(int(lengths.sum())) + np.repeat(shifts, lengths)
    return places
