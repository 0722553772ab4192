"""Posting lists: the items of a leaf as one packed value in Redis, records of row and static vector, updated in place.

A record has 8 + 4 W bytes, little-endian: the item's row as int32, its vector as W float32, their checksum as uint32. A
negative row, ``~row``, marks a record whose item is not in the leaf any more: its vector is used until another one is
there, and its checksum stays the same. `EMPTY_ROW` marks a record of no item; a record with a wrong checksum is read as
one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hsnn.streaming.redis.client import Redis

EMPTY_ROW = -(2**31)
"""Row of a record of no item."""

# Bytes read in one pipeline: large enough to hide the round trip, small beside the memory of a reader.
_READ_BYTES = 8 << 20

# Most posting lists read in one pipeline, however small they are.
_READ_LISTS = 1000

# Of the checksum, without unit; odd, so that damage to a single word always changes the sum.
_START, _STRIDE = np.uint32(0x9E3779B9), np.uint32(0x85EBCA6B)


class PostingList(NamedTuple):
    """Records: rows (n,) int32, vectors (n, W) float32; `intact` if all are there, as they were written."""

    rows: NDArray[np.int32]
    vectors: NDArray[np.float32]
    intact: bool = True


class LeafSlot(NamedTuple):
    """Location of an item's record by the item map: the leaf, and the number of the record in it."""

    leaf: int
    slot: int

    @classmethod
    def parse(cls, text: bytes) -> LeafSlot:
        """Read an entry of the item map; (-1, -1) for what the leader would not write.

        Examples
        --------
        >>> LeafSlot.parse(b"17:3"), LeafSlot.parse(b"?")
        (LeafSlot(leaf=17, slot=3), LeafSlot(leaf=-1, slot=-1))
        """
        leaf, _, slot = text.partition(b":")
        return cls(int(leaf), int(slot)) if leaf.isdigit() and slot.isdigit() else cls(-1, -1)


def pack(rows: NDArray[np.integer], vectors: NDArray[np.floating]) -> bytes:
    """Encode records of rows (n,), ``~row`` for items that are in no leaf, and vectors (n, W).

    Examples
    --------
    >>> unpacked = unpack(pack(np.array([3, ~4]), np.eye(2)), 2)
    >>> unpacked.rows.tolist(), unpacked.vectors.tolist()
    ([3, -5], [[1.0, 0.0], [0.0, 1.0]])
    """
    records = np.empty(len(rows), _record_type(vectors.shape[1]))
    records["row"], records["vector"] = rows, vectors
    records["sum"] = _checksums(records)
    return records.tobytes()


def unpack(blob: bytes, width: int) -> PostingList:
    """Read what `pack` wrote, W = `width`; damaged records become `EMPTY_ROW`, one that was cut short is left out."""
    record_type = _record_type(width)
    records = np.frombuffer(blob, record_type, len(blob) // record_type.itemsize)
    sound = (records["sum"] == _checksums(records)) | (records["row"] == EMPTY_ROW)  # (n,)
    intact = len(blob) == records.nbytes and bool(sound.all())
    return PostingList(np.where(sound, records["row"], np.int32(EMPTY_ROW)), records["vector"], intact)


def split(blob: bytes, width: int) -> list[bytes]:
    """Split what `pack` wrote into single records, W = `width`."""
    size = record_size(width)
    return [blob[start : start + size] for start in range(0, len(blob), size)]


def record_size(width: int) -> int:
    """Return the bytes of one record, W = `width`."""
    return _record_type(width).itemsize


def read_posting_lists(redis: Redis, names: Sequence[str], expected_bytes: int) -> Iterator[dict[str, bytes]]:
    """Read those of the posting lists `names` that exist, some megabytes at once, by name.

    `expected_bytes` is their size in all, about; it decides how many are read in one pipeline.
    """
    step = max(1, min(_READ_LISTS, _READ_BYTES * len(names) // max(expected_bytes, 1)))
    for start in range(0, len(names), step):
        selected = names[start : start + step]
        pipeline = redis.pipeline(transaction=False)
        for name in selected:
            pipeline.get(name)
        blobs: Any = pipeline.execute()
        yield {name: blob for name, blob in zip(selected, blobs, strict=True) if blob is not None}


def vectors_by_row(leaves: Iterable[PostingList], rows: int, width: int) -> NDArray[np.float32]:
    """Collect vectors (rows, W) by row, zero where no record has one; the record of an item in a leaf wins."""
    vectors, indexed = np.zeros((rows, width), np.float32), np.zeros(rows, np.bool_)
    for records in leaves:
        # Leaves come in any order: a removed record must not overwrite the item's vector from a leaf read before.
        removed = np.flatnonzero((records.rows < 0) & (~records.rows < rows))
        removed = removed[~indexed[~records.rows[removed]]]
        vectors[~records.rows[removed]] = records.vectors[removed]
        inside = np.flatnonzero((records.rows >= 0) & (records.rows < rows))
        vectors[records.rows[inside]] = records.vectors[inside]
        indexed[records.rows[inside]] = True
    return vectors


def _record_type(width: int) -> np.dtype[Any]:
    return np.dtype([("row", "<i4"), ("vector", "<f4", (width,)), ("sum", "<u4")])


def _checksums(records: NDArray[Any]) -> NDArray[np.uint32]:
    """Compute the checksums (n,) of records (n,): the words of row and vector, each multiplied by an odd factor.

    A negative row counts as the one that ``~row`` stands for, so that marking a record as removed keeps its checksum.
    """
    rows = np.where(records["row"] < 0, ~records["row"], records["row"]).astype(np.uint32)  # (n,)
    words: NDArray[np.uint32] = records.view("<u4").reshape(len(records), records.itemsize // 4)[:, 1:-1]  # (n, W)
    factors = _STRIDE * np.arange(3, 2 * words.shape[1] + 3, 2, dtype=np.uint32)  # (W,)
    sums: NDArray[np.uint32] = words @ factors + _STRIDE * rows + _START
    return sums
