"""Byte strings by row, as two arrays: all bytes in order, and the length of each.

A string may also be of units of several bytes: its length counts these, and the bytes are (all, unit).
"""

from __future__ import annotations

import builtins
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hsnn.trainer.rowstore.arrays import Array, grown, span_indices

_CHUNK = 65_536
"""Rows copied at once: bounds the index array of their bytes or units."""

BYTES, LENGTHS = ":bytes", ":lengths"
"""Suffixes of the two arrays that hold byte strings in a checkpoint."""


class ByteStrings(NamedTuple):
    """Byte strings (n): ``bytes`` (all,) or (all, unit) uint8 in order, ``lengths`` (n,) int32."""

    bytes: NDArray[np.uint8]
    lengths: NDArray[np.int32]

    @classmethod
    def from_list(cls, parts: Sequence[builtins.bytes]) -> ByteStrings:
        """Concatenate byte strings."""
        joined = np.frombuffer(b"".join(parts), np.uint8)
        return cls(joined, np.fromiter(map(len, parts), np.int32, len(parts)))

    def to_list(self) -> list[builtins.bytes]:
        """Return the byte strings as a list.

        Examples
        --------
        >>> ByteStrings.from_list([b"ab", b"", b"c"]).to_list()
        [b'ab', b'', b'c']
        """
        blob, ends = self.bytes.tobytes(), np.cumsum(self.lengths, dtype=np.int64)
        starts = ends - self.lengths
        return [blob[start:end] for start, end in zip(starts.tolist(), ends.tolist(), strict=True)]


def byte_string_arrays(name: str, texts: ByteStrings) -> dict[str, Array]:
    """Return byte strings as two named arrays."""
    return {f"{name}{BYTES}": texts.bytes, f"{name}{LENGTHS}": texts.lengths}


def read_byte_strings(arrays: Mapping[str, Array], name: str) -> ByteStrings:
    """Read byte strings that `byte_string_arrays` named."""
    return ByteStrings(arrays[f"{name}{BYTES}"], arrays[f"{name}{LENGTHS}"])


class ByteStringColumn:
    """Byte strings that can be overwritten: `write` appends, `compacted` drops what was replaced.

    Parameters
    ----------
    blank
        The bytes of no strings: they say of what units the strings are.

    Examples
    --------
    >>> blobs = ByteStringColumn()
    >>> blobs.write(np.array([1, 0]), ByteStrings.from_list([b"one", b"zero"]))
    >>> blobs.write(np.array([1]), ByteStrings.from_list([b"uno"]))
    >>> blobs.compacted().to_list(), blobs.select(np.array([1])).to_list()
    ([b'zero', b'uno'], [b'uno'])
    """

    def __init__(self, blank: NDArray[np.uint8] | None = None) -> None:
        self._blank: NDArray[np.uint8] = np.zeros(0, np.uint8) if blank is None else blank
        self._starts: NDArray[np.int64] = np.zeros(0, np.int64)
        self._lengths: NDArray[np.int32] = np.zeros(0, np.int32)
        self._rows = self._used = 0
        self._pieces: list[NDArray[np.uint8]] = []

    def __len__(self) -> int:
        return self._rows

    def write(self, rows: NDArray[np.integer], texts: ByteStrings) -> None:
        """Write to unique `rows` (n,)."""
        self.resize(max(self._rows, int(rows.max(initial=-1)) + 1))
        ends = self._used + np.cumsum(texts.lengths, dtype=np.int64)
        self._starts[rows], self._lengths[rows] = ends - texts.lengths, texts.lengths
        self._blank = texts.bytes[:0]
        self._pieces.append(texts.bytes)
        self._used += len(texts.bytes)

    def resize(self, rows: int) -> None:
        """Grow or cut to exactly `rows` rows; new ones are empty."""
        self._starts, self._lengths = grown(self._starts, rows), grown(self._lengths, rows)
        self._lengths[self._rows : rows] = 0
        self._rows = rows

    def select(self, rows: NDArray[np.integer]) -> ByteStrings:
        """Return those of `rows` (n,), in that order."""
        blob = self._joined()
        parts = [self._gather(blob, rows[start : start + _CHUNK]) for start in range(0, len(rows), _CHUNK)]
        return ByteStrings(np.concatenate([*parts, self._blank]), self._lengths[rows])

    def compacted(self) -> ByteStrings:
        """Return all of them, in order; views that hold until the next `write`."""
        lengths = self._lengths[: self._rows]
        starts = np.cumsum(lengths, dtype=np.int64) - lengths
        total = int(lengths.sum(dtype=np.int64))
        if self._used != total or len(self._pieces) > 1 or not np.array_equal(starts, self._starts[: self._rows]):
            self._pieces = [self.select(np.arange(self._rows)).bytes]
            self._starts[: self._rows], self._used = starts, total
        return ByteStrings(self._joined(), lengths)

    def _joined(self) -> NDArray[np.uint8]:
        if len(self._pieces) != 1:
            self._pieces = [np.concatenate([*self._pieces, self._blank])]
        return self._pieces[0]

    def _gather(self, blob: NDArray[np.uint8], rows: NDArray[np.integer]) -> NDArray[np.uint8]:
        return blob.take(span_indices(self._starts[rows], self._lengths[rows].astype(np.int64)), axis=0)
