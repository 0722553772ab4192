"""Byte strings by row, as two arrays: their bytes one behind the other, and how many each row has."""

from __future__ import annotations

import builtins
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hsnn.trainer.rowstore.arrays import Array, grown, span_indices

_CHUNK = 65_536

BYTES, LENGTHS = ":bytes", ":lengths"
"""Ends of the names of the two arrays that texts are in a checkpoint."""


class Packed(NamedTuple):
    """Byte strings (n): ``bytes`` (all,) uint8 in order, ``lengths`` (n,) int32."""

    bytes: NDArray[np.uint8]
    lengths: NDArray[np.int32]

    @classmethod
    def of(cls, parts: Sequence[builtins.bytes]) -> Packed:
        """Put byte strings one behind the other."""
        joined = np.frombuffer(b"".join(parts), np.uint8)
        return cls(joined, np.fromiter(map(len, parts), np.int32, len(parts)))

    def split(self) -> list[builtins.bytes]:
        """Take them apart again.

        Examples
        --------
        >>> Packed.of([b"ab", b"", b"c"]).split()
        [b'ab', b'', b'c']
        """
        blob, ends = self.bytes.tobytes(), np.cumsum(self.lengths, dtype=np.int64)
        starts = ends - self.lengths
        return [blob[start:end] for start, end in zip(starts.tolist(), ends.tolist(), strict=True)]


def named_texts(name: str, texts: Packed) -> dict[str, Array]:
    """Name the two arrays that texts are."""
    return {f"{name}{BYTES}": texts.bytes, f"{name}{LENGTHS}": texts.lengths}


def texts_in(arrays: Mapping[str, Array], name: str) -> Packed:
    """Find the texts that were named so."""
    return Packed(arrays[f"{name}{BYTES}"], arrays[f"{name}{LENGTHS}"])


class Blobs:
    """Byte strings that can be overwritten; writing appends, and `pack` puts them in order and drops what was replaced.

    Examples
    --------
    >>> blobs = Blobs()
    >>> blobs.put(np.array([1, 0]), Packed.of([b"one", b"zero"]))
    >>> blobs.put(np.array([1]), Packed.of([b"uno"]))
    >>> blobs.pack().split(), blobs.some(np.array([1])).split()
    ([b'zero', b'uno'], [b'uno'])
    """

    def __init__(self) -> None:
        self._starts: NDArray[np.int64] = np.zeros(0, np.int64)
        self._lengths: NDArray[np.int32] = np.zeros(0, np.int32)
        self._rows = self._used = 0
        self._pieces: list[NDArray[np.uint8]] = []

    def __len__(self) -> int:
        return self._rows

    def put(self, rows: NDArray[np.integer], texts: Packed) -> None:
        """Write to unique `rows` (n,)."""
        self.resize(max(self._rows, int(rows.max(initial=-1)) + 1))
        ends = self._used + np.cumsum(texts.lengths, dtype=np.int64)
        self._starts[rows], self._lengths[rows] = ends - texts.lengths, texts.lengths
        self._pieces.append(texts.bytes)
        self._used += len(texts.bytes)

    def resize(self, rows: int) -> None:
        """Have exactly `rows` rows; new ones are empty, what was beyond is gone."""
        self._starts, self._lengths = grown(self._starts, rows), grown(self._lengths, rows)
        self._lengths[self._rows : rows] = 0
        self._rows = rows

    def some(self, rows: NDArray[np.integer]) -> Packed:
        """Those of `rows` (n,), in their order."""
        blob = self._joined()
        parts = [self._take(blob, rows[at : at + _CHUNK]) for at in range(0, len(rows), _CHUNK)]
        return Packed(np.concatenate([*parts, np.zeros(0, np.uint8)]), self._lengths[rows])

    def pack(self) -> Packed:
        """All of them, in order; views, good until the next `put`."""
        lengths = self._lengths[: self._rows]
        starts = np.cumsum(lengths, dtype=np.int64) - lengths
        total = int(lengths.sum(dtype=np.int64))
        if self._used != total or len(self._pieces) > 1 or not np.array_equal(starts, self._starts[: self._rows]):
            self._pieces = [self.some(np.arange(self._rows)).bytes]
            self._starts[: self._rows], self._used = starts, total
        return Packed(self._joined(), lengths)

    def _joined(self) -> NDArray[np.uint8]:
        if len(self._pieces) != 1:
            self._pieces = [np.concatenate([*self._pieces, np.zeros(0, np.uint8)])]
        return self._pieces[0]

    def _take(self, blob: NDArray[np.uint8], rows: NDArray[np.integer]) -> NDArray[np.uint8]:
        taken: NDArray[np.uint8] = blob[span_indices(self._starts[rows], self._lengths[rows].astype(np.int64))]
        return taken
