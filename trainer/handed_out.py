"""The snapshot that a checkpoint's copy of the learner makes, as its readers get it.

The same bytes as `trainer.wire.Snapshot` makes, without an object per item or user, and in small steps where the
interpreter's lock is held: it is made beside training.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import msgspec

from trainer.array_file import Column, parts_of
from trainer.arrays import Array
from trainer.chunked import list_head
from trainer.export import weights_of
from trainer.ids.texts import Texts
from trainer.learner_state import texts_in
from trainer.lodging import saved_ids
from trainer.snapshot import BY_ITEM, BY_USER, PAIRS
from trainer.wire import SnapshotManifest

_CHUNK = 4096


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
        yield from _texts(saved_ids(self.arrays, "items"))
        yield from _texts(saved_ids(self.arrays, "users"))
        features = texts_in(self.arrays, "items.features")  # each of them is encoded already
        yield list_head(len(features.lengths))
        yield features.bytes.tobytes()


def _packed(arrays: Mapping[str, Array]) -> bytes:
    return b"".join(parts_of({name: Column.of(array) for name, array in arrays.items()}))


def _texts(texts: Texts) -> Iterator[bytes]:
    yield list_head(len(texts))
    for at in range(0, len(texts), _CHUNK):
        part = texts[at : at + _CHUNK]
        yield msgspec.msgpack.encode(part)[len(list_head(len(part))) :]
