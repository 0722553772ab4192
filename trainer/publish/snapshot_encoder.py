"""Encode a snapshot from the arrays of a checkpoint's copy of the learner.

The same bytes as `hsnn.trainer.messages.Snapshot.parts`, piece by piece, without a copy of the arrays or an object per
item or user, and without holding the interpreter lock for long: it runs in a thread beside training.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import msgspec
import numpy as np
from numpy.typing import NDArray

from hsnn.trainer.checkpoint.export import weights_of
from hsnn.trainer.checkpoint.msgpack_writer import list_head
from hsnn.trainer.checkpoint.safetensors_writer import Column, file_pieces
from hsnn.trainer.messages import Piece, SnapshotManifest
from hsnn.trainer.rowstore.arrays import Array, select_prefix, span_indices
from hsnn.trainer.rowstore.byte_strings import ByteStrings, read_byte_strings
from hsnn.trainer.rowstore.table import Table, TableKind, served_columns
from hsnn.trainer.training.row_recycling import vacant

# Strings encoded per step: some milliseconds, after which other threads get the interpreter lock.
_CHUNK = 65_536

# Begins the names of the arrays on reused rows.
_RECYCLING = "row_recycling."
_FIXSTR_MAX, _STR8_MAX = 31, 255
"""Bytes of the longest MessagePack strings with a header of one byte, and of two bytes."""


@dataclass(frozen=True, slots=True)
class SnapshotEncoder:
    """A snapshot of a checkpoint's `arrays`; `tables` are the learner's, which say what of it is served."""

    manifest: SnapshotManifest
    arrays: Mapping[str, Array]
    tables: Sequence[Table]

    def with_checkpoint(self, name: str) -> SnapshotEncoder:
        """Return the same snapshot with the name of its durable checkpoint."""
        return replace(self, manifest=msgspec.structs.replace(self.manifest, checkpoint=name))

    def parts(self) -> dict[str, Iterator[Piece]]:
        """Encode model, items, users and ids, each in pieces."""
        return {
            "model": _packed(weights_of(self.arrays)),
            "items": _packed(self._served(TableKind.ITEM)),
            "users": _packed(self._served(TableKind.USER)),
            "ids": self._ids(),
        }

    def _served(self, kind: TableKind) -> dict[str, Array]:
        return {name: self.arrays[column] for name, column in served_columns(self.tables, kind).items()}

    def _ids(self) -> Iterator[Piece]:
        recycling = select_prefix(self.arrays, _RECYCLING)
        yield list_head(3)
        for part in ("items", "users"):
            texts = read_byte_strings(self.arrays, f"{part}.ids.texts")
            yield list_head(len(texts.lengths))
            yield from encode_strings(texts, vacant(recycling, part))
        features = read_byte_strings(self.arrays, "items.features")  # encoded already, one value per item
        yield list_head(len(features.lengths))
        yield features.bytes.data


def _packed(arrays: Mapping[str, Array]) -> Iterator[Piece]:
    return file_pieces({name: Column.from_array(array) for name, array in arrays.items()})


def encode_strings(texts: ByteStrings, without: NDArray[np.int64]) -> Iterator[bytes]:
    """Encode strings as MessagePack, one after the other, those of the rows `without` (n,) as empty.

    A string is a header of one to three bytes with its length, then its UTF-8. Array operations build the bytes: a loop
    over a million strings would make the training thread wait for the interpreter lock at every operation.

    Examples
    --------
    >>> texts = ByteStrings.from_list([b"a", b"gone", b"x" * 40])
    >>> b"".join(encode_strings(texts, np.array([1]))) == b"".join(map(msgspec.msgpack.encode, ["a", "", "x" * 40]))
    True
    """
    lengths = texts.lengths.astype(np.int64)
    starts = np.cumsum(lengths) - lengths
    lengths[without] = 0
    for start in range(0, len(lengths), _CHUNK):
        chunk = slice(start, start + _CHUNK)
        yield _with_headers(texts.bytes, starts[chunk], lengths[chunk]).tobytes()


def _with_headers(blob: NDArray[np.uint8], starts: NDArray[np.int64], lengths: NDArray[np.int64]) -> NDArray[np.uint8]:
    """Return the strings (n,) of `blob`, each after its header; none has more than 65,535 bytes."""
    headers = 1 + (lengths > _FIXSTR_MAX) + (lengths > _STR8_MAX)  # (n,) bytes of each header
    offsets = np.cumsum(headers + lengths) - headers - lengths
    out = np.empty(int((headers + lengths).sum()), np.uint8)
    one, two, three = (np.flatnonzero(headers == size) for size in (1, 2, 3))
    # MessagePack: fixstr 101xxxxx; str 8 is 0xD9 and one byte; str 16 is 0xDA and two bytes, big-endian.
    out[offsets[one]] = 0xA0 | lengths[one]
    out[offsets[two]], out[offsets[two] + 1] = 0xD9, lengths[two]
    out[offsets[three]], out[offsets[three] + 1], out[offsets[three] + 2] = (
        0xDA,
        lengths[three] >> 8,
        lengths[three] & 0xFF,
    )
    out[span_indices(offsets + headers, lengths)] = blob[span_indices(starts, lengths)]
    return out
