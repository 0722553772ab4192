"""The snapshot that a checkpoint's copy of the learner makes, as its readers get it.

The same bytes as `hsnn.trainer.messages.Snapshot` makes, without an object per item or user, and in small steps where
the interpreter's lock is held: it is made beside training.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import msgspec
import numpy as np
from numpy.typing import NDArray

from hsnn.trainer.checkpoint.export import weights_of
from hsnn.trainer.checkpoint.msgpack_writer import list_head
from hsnn.trainer.checkpoint.safetensors_writer import Column, parts_of
from hsnn.trainer.messages import SnapshotManifest
from hsnn.trainer.publish.snapshot import BY_ITEM, BY_USER, PAIRS
from hsnn.trainer.rowstore.arrays import Array, span_indices
from hsnn.trainer.rowstore.byte_strings import Packed, texts_in
from hsnn.trainer.training.row_recycling import vacant

_CHUNK = 65_536
_LODGING = "lodging."
_FIX, _BYTE = 31, 255
"""Longest texts whose heads have one byte, and two."""


@dataclass(frozen=True, slots=True)
class SnapshotEncoder:
    """A snapshot of a checkpoint's `arrays`."""

    manifest: SnapshotManifest
    arrays: Mapping[str, Array]

    def of_checkpoint(self, name: str) -> SnapshotEncoder:
        """Return the same snapshot, naming the durable checkpoint it was taken with."""
        return replace(self, manifest=msgspec.structs.replace(self.manifest, checkpoint=name))

    def encode(self) -> dict[bytes, bytes]:
        """Fields of the Redis hash."""
        by_item = BY_ITEM | (PAIRS if self.manifest.model["cross"] else {})
        return {
            b"manifest": msgspec.json.encode(self.manifest),
            b"model": _packed(weights_of(self.arrays)),
            b"items": _packed({name: self.arrays[own] for name, own in by_item.items()}),
            b"users": _packed({name: self.arrays[own] for name, own in BY_USER.items()}),
            b"ids": b"".join(self._ids()),
        }

    def _ids(self) -> Iterator[bytes]:
        lodging = {name.removeprefix(_LODGING): one for name, one in self.arrays.items() if name.startswith(_LODGING)}
        yield list_head(3)
        for part in ("items", "users"):
            texts = texts_in(self.arrays, f"{part}.ids.texts")
            yield list_head(len(texts.lengths))
            yield from encoded_texts(texts, vacant(lodging, part))
        features = texts_in(self.arrays, "items.features")  # each of them is encoded already
        yield list_head(len(features.lengths))
        yield features.bytes.tobytes()


def _packed(arrays: Mapping[str, Array]) -> bytes:
    return b"".join(parts_of({name: Column.of(array) for name, array in arrays.items()}))


def encoded_texts(texts: Packed, without: NDArray[np.int64]) -> Iterator[bytes]:
    """Encode texts as MessagePack, one behind the other, those of the rows `without` (n,) as empty ones.

    A text is its length in one to three bytes, then its UTF-8. That is put together in arrays: a loop over a million
    texts would let the training thread wait for the interpreter's lock at every operation.

    Examples
    --------
    >>> texts = Packed.of([b"a", b"gone", b"x" * 40])
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
