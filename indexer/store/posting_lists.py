"""Postings: a leaf's items as one packed value in Redis, records of row and static vector, changed in place.

A record is 8 + 4 W bytes, little-endian: the item's row as int32, its vector as W float32, their checksum as uint32. A
record whose row is negative, ``~row``, is of an item that is not in the leaf any more: its vector still counts until
another is found, and its checksum is the same. `EMPTY` is no item's. A record whose checksum is another counts as
`EMPTY`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hsnn.streaming.redis.client import Redis

EMPTY = -(2**31)
"""Row of a record that says nothing."""
_READ_AT_ONCE = 8 << 20  # bytes
_START, _STRIDE = np.uint32(0x9E3779B9), np.uint32(0x85EBCA6B)  # of the checksum; odd: damage to one word always shows


class Records(NamedTuple):
    """Records of one leaf: rows (n,) int32, vectors (n, W) float32, and whether all are there, as they were written."""

    rows: NDArray[np.int32]
    vectors: NDArray[np.float32]
    whole: bool = True


class Place(NamedTuple):
    """Where the record of an item is, as the item map says: leaf, and number of the record in it."""

    leaf: int
    slot: int

    @classmethod
    def read(cls, text: bytes) -> Place:
        """Read the map's text; (-1, -1) for what is not written as the leader writes it.

        Examples
        --------
        >>> Place.read(b"17:3"), Place.read(b"?")
        (Place(leaf=17, slot=3), Place(leaf=-1, slot=-1))
        """
        leaf, _, slot = text.partition(b":")
        return cls(int(leaf), int(slot)) if leaf.isdigit() and slot.isdigit() else cls(-1, -1)


def pack(rows: NDArray[np.integer], vectors: NDArray[np.floating]) -> bytes:
    """Bytes of records of rows (n,), ``~row`` for those that are in no leaf, and vectors (n, W).

    Examples
    --------
    >>> found = unpack(pack(np.array([3, ~4]), np.eye(2)), 2)
    >>> found.rows.tolist(), found.vectors.tolist()
    ([3, -5], [[1.0, 0.0], [0.0, 1.0]])
    """
    records = np.empty(len(rows), _record(vectors.shape[1]))
    records["row"], records["vector"] = rows, vectors
    records["sum"] = _sums(records)
    return records.tobytes()


def unpack(blob: bytes, width: int) -> Records:
    """Read what `pack` wrote, W = `width`; damaged records become `EMPTY`, one that was cut short is left out."""
    kind = _record(width)
    records = np.frombuffer(blob, kind, len(blob) // kind.itemsize)
    sound = (records["sum"] == _sums(records)) | (records["row"] == EMPTY)  # (n,)
    whole = len(blob) == records.nbytes and bool(sound.all())
    return Records(np.where(sound, records["row"], np.int32(EMPTY)), records["vector"], whole)


def split(blob: bytes, width: int) -> list[bytes]:
    """Single records out of what `pack` wrote, W = `width`."""
    size = size_of(width)
    return [blob[start : start + size] for start in range(0, len(blob), size)]


def size_of(width: int) -> int:
    """Bytes of one record, W = `width`."""
    return _record(width).itemsize


def read_leaves(redis: Redis, names: Sequence[str], expected: int) -> Iterator[tuple[str, bytes]]:
    """Read the postings `names` that exist, some megabytes at once if they are of `expected` bytes together."""
    step = max(1, min(1000, _READ_AT_ONCE * len(names) // max(expected, 1)))
    for start in range(0, len(names), step):
        some = names[start : start + step]
        pipeline = redis.pipeline(transaction=False)
        for name in some:
            pipeline.get(name)
        found: Any = pipeline.execute()
        yield from ((name, blob) for name, blob in zip(some, found, strict=True) if blob is not None)


def gather(leaves: Iterable[Records], rows: int, width: int) -> NDArray[np.float32]:
    """Vectors (rows, W) by row out of records, zero where there is none; the record of an item in a leaf wins."""
    vectors, placed = np.zeros((rows, width), np.float32), np.zeros(rows, np.bool_)
    for records in leaves:
        left = np.flatnonzero((records.rows < 0) & (~records.rows < rows))
        left = left[~placed[~records.rows[left]]]
        vectors[~records.rows[left]] = records.vectors[left]
        inside = np.flatnonzero((records.rows >= 0) & (records.rows < rows))
        vectors[records.rows[inside]] = records.vectors[inside]
        placed[records.rows[inside]] = True
    return vectors


def _record(width: int) -> np.dtype[Any]:
    return np.dtype([("row", "<i4"), ("vector", "<f4", (width,)), ("sum", "<u4")])


def _sums(records: NDArray[Any]) -> NDArray[np.uint32]:
    """Checksums (n,) of records (n,): the words of row, or of what ``~row`` turned, and vector, by odd factors."""
    rows = np.where(records["row"] < 0, ~records["row"], records["row"]).astype(np.uint32)  # (n,)
    words: NDArray[np.uint32] = records.view("<u4").reshape(len(records), records.itemsize // 4)[:, 1:-1]  # (n, W)
    factors = _STRIDE * np.arange(3, 2 * words.shape[1] + 3, 2, dtype=np.uint32)  # (W,)
    sums: NDArray[np.uint32] = words @ factors + _STRIDE * rows + _START
    return sums
