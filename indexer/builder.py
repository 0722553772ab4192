"""Builder: one version out of one snapshot and of everything that came since."""

from __future__ import annotations

import time

import numpy as np
from numpy.typing import NDArray

from indexer.assignment import Assigner, MakeEncoder, snapshot_encoder
from indexer.bulk import Items
from indexer.catalogue import Catalogue
from indexer.deadline import safe_point
from indexer.delta import Delta
from indexer.following import catch_up
from indexer.live import LiveIndex
from indexer.store import IndexStore
from indexer.version import IndexBase, VersionManifest
from trainer.wire import Snapshot, SnapshotManifest


class Draft:
    """A version being made: its base lies in Redis, no reader looks at it yet.

    Attributes
    ----------
    manifest : VersionManifest
    catalogue
        The snapshot's items, and what came since.
    live
        The draft's own index.
    """

    def __init__(self, store: IndexStore, manifest: VersionManifest, catalogue: Catalogue, live: LiveIndex) -> None:
        self._store = store
        self.manifest = manifest
        self.catalogue = catalogue
        self.live = live

    def advance(self, current: LiveIndex | None) -> None:
        """Re-assign most of what came since the snapshot, while deltas of `current` go on being written.

        What readers of `current` do not know yet is left to `finish`, so that its freshness is told once.
        """
        catch_up(self.catalogue, self._store)
        self._write([delta for delta in self._pending(current) if not _is_news(delta, current) or current is None])

    def finish(self, current: LiveIndex | None) -> list[Delta]:
        """Re-assign the rest under the new model, then flip; nobody may write deltas of `current` meanwhile.

        Parameters
        ----------
        current
            The index that is replaced, if it speaks of the same rows; None for the first version of an epoch.

        Returns
        -------
        list of Delta
            Arrivals and departures that readers of `current` had not been told of.

        Raises
        ------
        MovedError
            Somebody else changed or flipped the current version; nothing became visible.
        FencedError
            The lease is lost; nothing became visible.
        HeldError
            A person holds publishing; nothing became visible.
        OverrunError
            The job's time is over; nothing became visible.
        """
        old = self._store.current()
        seen = "" if old is None else self._store.last_delta_id(old)
        catch_up(self.catalogue, self._store)
        deltas = self._pending(current)
        self._write(deltas)
        safe_point("before the flip")
        self._store.flip(self.manifest.version, old, seen)
        return [delta for delta in deltas if _is_news(delta, current)]

    def _pending(self, current: LiveIndex | None) -> list[Delta]:
        if current is not None:
            self.catalogue.told_before(current.node_column(len(self.catalogue)))
        return self.live.pending(self.catalogue)

    def _write(self, deltas: list[Delta]) -> None:
        self._store.apply(self.manifest.version, deltas)
        self.live.apply(deltas)
        self.catalogue.told([delta.row for delta in deltas])


class Builder:
    """Makes versions.

    Parameters
    ----------
    store
        Where they go; writes need its lease.
    make_encoder
        Encoder of a snapshot's model.
    chunk
        Items encoded at once.
    """

    def __init__(self, store: IndexStore, make_encoder: MakeEncoder = snapshot_encoder, chunk: int = 65_536) -> None:
        self._store = store
        self._make_encoder = make_encoder
        self._chunk = chunk

    def assigner(self, snapshot: Snapshot) -> Assigner:
        """Place items as this snapshot's model does."""
        return Assigner(snapshot, self._make_encoder(snapshot), self._chunk)

    def draft(self, number: int, reason: str) -> Draft:
        """Encode and assign the items of snapshot `number`, and write that aside as a new version.

        Vectors are kept of items that left, too: the histories of users still name them.

        Raises
        ------
        SnapshotGoneError
            The snapshot is not there (any more).
        """
        snapshot = self._store.load_snapshot(number)
        catalogue, assigner = Catalogue(snapshot), self.assigner(snapshot)
        base = base_of(catalogue, assigner)
        manifest = manifest_of(
            snapshot.manifest, self._store.allocate(), base, assigner.nodes, reason, self._store.shards
        )
        items = Items(catalogue.ids, catalogue.expires_at)
        safe_point("before a version is written aside")
        self._store.write_aside(manifest, base, items)
        return Draft(self._store, manifest, catalogue, LiveIndex(manifest.version, assigner, base.nodes))


def _is_news(delta: Delta, current: LiveIndex | None) -> bool:
    """Whether an arrival or departure changes what readers of `current` know."""
    if delta.op == "move":
        return False
    indexed = current is not None and current.node_of(delta.row) >= 0
    return indexed if delta.op == "delete" else not indexed


def base_of(catalogue: Catalogue, assigner: Assigner) -> IndexBase:
    """Encode all items of a catalogue and assign those that are alive."""
    rows = np.arange(len(catalogue))
    vectors, assigned = assigner.place(rows, catalogue.tokens)
    nodes: NDArray[np.int32] = np.where(catalogue.alive(), assigned, -1).astype(np.int32)
    return IndexBase(vectors, nodes, assigner.representatives(vectors, nodes))


def manifest_of(
    source: SnapshotManifest, number: int, base: IndexBase, nodes: int, reason: str, shards: int = 1
) -> VersionManifest:
    """Describe version `number`, made from the snapshot `source`, with `nodes` nodes, spread over `shards`."""
    return VersionManifest(
        version=number, epoch=source.epoch, snapshot=source.snapshot, checkpoint=source.checkpoint,
        events=source.events, watermark=source.watermark, created_at=time.time_ns() // 1_000_000,
        items=int((base.nodes >= 0).sum()), rows=len(base.nodes), nodes=nodes, config_digest=source.config_digest,
        state_id=source.state_id, reason=reason, shards=tuple(range(shards)),
    )  # fmt: skip
