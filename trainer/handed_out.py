"""The snapshot that a checkpoint's copy of the learner makes, as its readers get it.

The same bytes as `trainer.wire.Snapshot` makes, without an object per item or user, and in small steps where the interpreter's
lock is held: it is made beside training.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import msgspec
import numpy as np

from trainer.array_file import Column, parts_of
from trainer.arrays import Array
from trainer.blobs import Packed, texts_in
from trainer.chunked import list_head
from trainer.export import weights_of
from trainer.snapshot import BY_ITEM, BY_USER, PAIRS
from trainer.wire import SnapshotManifest

_CHUNK = 4096
_NONE = np.zeros(0, np.int64)


@dataclass(frozen=True, slots=True)
class HandedOut:
    """A snapshot of a checkpoint's `arrays`."""

    manifest: SnapshotManifest
    arrays: Mapping[str, Array]

    def of_checkpoint(self, name: str) -> HandedOut:
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
        yield list_head(3)
        for part in ("items", "users"):
            yield from _texts(texts_in(self.arrays, f"{part}.ids.texts"), self._vacant(part))
        features = texts_in(self.arrays, "items.features")  # each of them is encoded already
        yield list_head(len(features.lengths))
        yield features.bytes.tobytes()


    def _vacant(self, part: str) -> set[int]:
        """Rows that no id has, whatever they were called."""
        lists = [self.arrays.get(f"lodging.{part}.{kind}", _NONE) for kind in ("free", "left")]
        return set(np.concatenate(lists).tolist())


def _packed(arrays: Mapping[str, Array]) -> bytes:
    return b"".join(parts_of({name: Column.of(array) for name, array in arrays.items()}))


def _texts(texts: Packed, vacant: set[int]) -> Iterator[bytes]:
    yield list_head(len(texts.lengths))
    start = 0
    for at in range(0, len(texts.lengths), _CHUNK):
        lengths = texts.lengths[at : at + _CHUNK]
        end = start + int(lengths.sum())
        part = [one.decode("utf-8", "surrogatepass") for one in Packed(texts.bytes[start:end], lengths).split()]
        if vacant:
            part = ["" if at + place in vacant else name for place, name in enumerate(part)]
        yield msgspec.msgpack.encode(part)[len(list_head(len(part))) :]
        start = end
