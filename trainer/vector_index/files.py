"""Brought vectors and pairs: read from npy or safetensors files, and checked before anything is learned from them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load

from hsnn.trainer.errors import VectorFileError

# Endings of file names, which choose the format.
FORMATS = (".npy", ".safetensors")


def read_vectors(path: Path, what: str) -> NDArray[np.float32]:
    """Read vectors (n, d), one row each; `what` names them in errors, as in ``user vectors``.

    Raises
    ------
    VectorFileError
        The file cannot be read, or holds no two-dimensional array of finite numbers.
    """
    array = _read_array(path, what)
    if array.ndim != 2 or 0 in array.shape:
        raise VectorFileError(f"{path}: {what} have the shape {array.shape}; write one array (rows, width), not empty")
    if array.dtype.kind not in "fiu":
        raise VectorFileError(f"{path}: {what} are of type {array.dtype}; write them as float32")
    vectors = np.ascontiguousarray(array, np.float32)
    damaged = np.flatnonzero(~np.isfinite(vectors).all(1))
    if len(damaged):
        raise VectorFileError(
            f"{path}: {len(damaged):,} of {len(vectors):,} {what} hold NaN or infinity as float32, the first in row "
            f"{damaged[0]}; remove or mend these rows"
        )
    return vectors


def read_pairs(path: Path, users: int, items: int) -> NDArray[np.int64]:
    """Read training engagements (m, 2): row of the user and row of the item, of so many `users` and `items`.

    Raises
    ------
    VectorFileError
        The file cannot be read, is no array (m, 2) of whole numbers, or names a row that does not exist.
    """
    array = _read_array(path, "pairs")
    if array.ndim != 2 or array.shape[1] != 2 or len(array) == 0:
        raise VectorFileError(
            f"{path}: pairs have the shape {array.shape}; write one array (pairs, 2), a user's row and an item's row"
        )
    if array.dtype.kind not in "iu":
        raise VectorFileError(f"{path}: pairs are of type {array.dtype}; write rows as int64, counted from 0")
    pairs = np.ascontiguousarray(array, np.int64)
    for column, count, what in ((0, users, "user"), (1, items, "item")):
        wrong = np.flatnonzero((pairs[:, column] < 0) | (pairs[:, column] >= count))
        if len(wrong):
            raise VectorFileError(
                f"{path}: pair {wrong[0]} names {what} row {pairs[wrong[0], column]}, but there are {count:,} {what} "
                f"vectors, rows 0 to {count - 1}; {len(wrong):,} pairs are out of range. Columns are (user, item)"
            )
    return pairs


def check_widths(users: NDArray[np.float32], items: NDArray[np.float32]) -> None:
    """Check that user vectors and item vectors have a dot product.

    Raises
    ------
    VectorFileError
        They have not: their widths differ, or they have one number alone.
    """
    if users.shape[1] != items.shape[1]:
        raise VectorFileError(
            f"user vectors are {users.shape[1]} wide and item vectors {items.shape[1]}; their dot product is the "
            "score, so both must come from the same model"
        )
    if users.shape[1] < 2:
        raise VectorFileError("vectors are 1 wide; an index needs at least 2 numbers per vector")


def _read_array(path: Path, what: str) -> NDArray[np.generic]:
    if path.suffix not in FORMATS:
        raise VectorFileError(f"{path}: {what} are read from files that end in {' or '.join(FORMATS)}")
    try:
        if path.suffix == ".npy":
            # With pickle a file could run code.
            array: NDArray[np.generic] = np.load(path, allow_pickle=False)
            return array
        arrays = load(path.read_bytes())
    except OSError as error:
        raise VectorFileError(f"{path} cannot be read: {error.strerror or error}") from error
    except (ValueError, EOFError, SafetensorError) as error:
        raise VectorFileError(f"{path} is not a readable {path.suffix[1:]} file ({error}); write it again") from error
    if len(arrays) != 1:
        raise VectorFileError(f"{path} holds {len(arrays)} arrays ({', '.join(sorted(arrays))}); write {what} alone")
    return next(iter(arrays.values()))
