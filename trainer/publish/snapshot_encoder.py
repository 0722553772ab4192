"""The snapshot that a checkpoint's copy of the learner makes, as its readers get it.

The same bytes as `hsnn.trainer.messages.Snapshot` makes, without an object per item or user, and in small steps where
the interpreter's lock is held: it is made beside training.
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
from hsnn.trainer.messages import SnapshotManifest
from hsnn.trainer.rowstore.arrays import Array, select_prefix, span_indices
from hsnn.trainer.rowstore.byte_strings import ByteStrings, read_byte_strings
from hsnn.trainer.rowstore.table import Table, TableKind, served_columns
from hsnn.trainer.training.row_recycling import vacant

_CHUNK = 65_536
_RECYCLING = "row_recycling."
_FIX, _BYTE = 31, 255
"""Longest texts whose heads have one byte, and two."""


@dataclass(frozen=True, slots=True)
class SnapshotEncoder:
    """A snapshot of a checkpoint's `arrays`; `tables` are the learner's, which say what of it is served."""

    manifest: SnapshotManifest
    arrays: Mapping[str, Array]
    tables: Sequence[Table]

    def of_checkpoint(self, name: str) -> SnapshotEncoder:
        """Return the same snapshot, naming the durable checkpoint it was taken with."""
        return replace(self, manifest=msgspec.structs.replace(self.manifest, checkpoint=name))

    def encode(self) -> dict[bytes, bytes]:
        """Fields of the Redis hash."""
        return {
            b"manifest": msgspec.json.encode(self.manifest),
            b"model": _packed(weights_of(self.arrays)),
            b"items": _packed(self._served(TableKind.ITEM)),
            b"users": _packed(self._served(TableKind.USER)),
            b"ids": b"".join(self._ids()),
        }

    def _served(self, kind: TableKind) -> dict[str, Array]:
        return {name: self.arrays[column] for name, column in served_columns(self.tables, kind).items()}

    def _ids(self) -> Iterator[bytes]:
        recycling = select_prefix(self.arrays, _RECYCLING)
        yield list_head(3)
        for part in ("items", "users"):
            texts = read_byte_strings(self.arrays, f"{part}.ids.texts")
            yield list_head(len(texts.lengths))
            yield from encoded_texts(texts, vacant(recycling, part))
        features = read_byte_strings(self.arrays, "items.features")  # each of them is encoded already
        yield list_head(len(features.lengths))
        yield features.bytes.tobytes()


def _packed(arrays: Mapping[str, Array]) -> bytes:
    return b"".join(file_pieces({name: Column.from_array(array) for name, array in arrays.items()}))


def encoded_texts(texts: ByteStrings, without: NDArray[np.int64]) -> Iterator[bytes]:
    """Encode texts as MessagePack, one behind the other, those of the rows `without` (n,) as empty ones.

    A text is its length in one to three bytes, then its UTF-8. That is put together in arrays: a loop over a million
    texts would let the training thread wait for the interpreter's lock at every operation.

    Examples
    --------
    >>> texts = ByteStrings.from_list([b"a", b"gone", b"x" * 40])
    >>> b"".join(encoded_texts(texts, np.array([1]))) == b"".join(map(msgspec.msgpack.encode, ["a", "", "x" * 40]))
    True
    """
    lengths = texts.lengths.astype(np.int64)
    starts = np.cumsum(lengths) - lengths
    lengths[without] = 0
    for at in range(0, len(lengths), _CHUNK):
        part = slice(at, at + _CHUNK)
        yield _joined(texts.bytes, starts[part], lengths[part]).tobytes()


def _joined(blob: NDArray[np.uint8], starts: NDArray[np.int64], lengths: NDArray[np.int64]) -> NDArray[np.uint8]:
    """Texts (n,) of `blob` behind their heads: at most 65,535 bytes each, see `hsnn.trainer.ids.string_store`."""
    heads = 1 + (lengths > _FIX) + (lengths > _BYTE)  # (n,) bytes of each head
    places = np.cumsum(heads + lengths) - heads - lengths
    out = np.empty(int((heads + lengths).sum()), np.uint8)
    one, two, three = (np.flatnonzero(heads == size) for size in (1, 2, 3))
    out[places[one]] = 0xA0 | lengths[one]
    out[places[two]], out[places[two] + 1] = 0xD9, lengths[two]
    out[places[three]], out[places[three] + 1], out[places[three] + 2] = (
        0xDA,
        lengths[three] >> 8,
        lengths[three] & 0xFF,
    )
    out[span_indices(places + heads, lengths)] = blob[span_indices(starts, lengths)]
    return out
