"""Builder: one version out of one snapshot and of everything that came since."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hsnn.indexer.assign.assigner import Assigner, MakeEncoder, Placement, snapshot_encoder
from hsnn.indexer.assign.capacity import FREE, Placing
from hsnn.indexer.assign.catalogue import Catalogue, Rows
from hsnn.indexer.assign.catalogue_sync import catch_up
from hsnn.indexer.assign.live_index import LiveIndex, Wanted, most_held, replayed
from hsnn.indexer.assign.placement import seat_all
from hsnn.indexer.deadline import safe_point
from hsnn.indexer.store.bulk_load import Items
from hsnn.indexer.store.delta import Delta, Op
from hsnn.indexer.store.version import IndexBase, Version, VersionManifest
from hsnn.indexer.store.writer import IndexStore
from hsnn.trainer.messages import Snapshot, SnapshotManifest
from hsnn.trainer.rowstore.arrays import grown

Nodes = NDArray[np.int32]
NodesOf = Callable[[int], Nodes | None]
"""Nodes (rows,) of the items now, if the version in use is of an epoch; None if it is of another."""


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
        self._write(self._pending(current, None if current is None else _known_to(current)))

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

    def _pending(self, current: LiveIndex | None, wanted: Wanted | None = None) -> list[Delta]:
        if current is not None:
            self.catalogue.told_before(current.node_column(len(self.catalogue)))
        return self.live.pending(self.catalogue, wanted)

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
    rules
        How items are placed.
    """

    def __init__(
        self,
        store: IndexStore,
        make_encoder: MakeEncoder = snapshot_encoder,
        chunk: int = 65_536,
        rules: Placing = FREE,
    ) -> None:
        self._store = store
        self._make_encoder = make_encoder
        self._chunk = chunk
        self._rules = rules

    def assigner(self, snapshot: Snapshot) -> Assigner:
        """Place items as this snapshot's model does."""
        return Assigner(snapshot, self._make_encoder(snapshot), self._chunk, self._rules)

    def live(self, version: Version, deltas: Sequence[Delta]) -> LiveIndex:
        """Index of a version that was made before, after its deltas; its bound stays the one that it was made with."""
        rules = self._rules.of_version(version.manifest)
        assigner = Assigner(version.snapshot, self._make_encoder(version.snapshot), self._chunk, rules)
        base = version.index.nodes
        peak, shards = most_held(base, deltas), len(version.manifest.shards)
        return LiveIndex(version.manifest.version, assigner, replayed(base, deltas), peak=peak, shards=shards)

    def draft(self, number: int, reason: str, nodes_of: NodesOf = lambda _: None) -> Draft:
        """Encode and assign the items of snapshot `number`, and write that aside as a new version.

        Vectors are kept of items that left, too: the histories of users still name them. An item whose node in the
        version in use, by `nodes_of`, is hardly farther than its nearest one stays there.

        Raises
        ------
        SnapshotGoneError
            The snapshot is not there (any more).
        """
        snapshot = self._store.load_snapshot(number)
        catalogue = Catalogue(snapshot)
        assigner = self.assigner(snapshot)
        made = base_of(catalogue, assigner, nodes_of(snapshot.manifest.epoch))
        base = made.base
        manifest = manifest_of(snapshot.manifest, self._store.allocate(), made, assigner, reason, self._store.shards)
        items = Items(catalogue.ids, catalogue.expires_at)
        safe_point("before a version is written aside")
        self._store.write_aside(manifest, base, items)
        live = LiveIndex(manifest.version, assigner, base.nodes, made.wanted, shards=self._store.shards)
        return Draft(self._store, manifest, catalogue, live)


def _known_to(current: LiveIndex) -> Wanted:
    """Tell what is no news to readers of `current`: departures of what they lack, arrivals of what they have."""

    def wanted(op: Op, rows: Rows) -> NDArray[np.bool_]:
        indexed = current.node_column(int(rows.max(initial=-1)) + 1)[rows] >= 0
        return ~indexed if op == "delete" else indexed

    return wanted


def _is_news(delta: Delta, current: LiveIndex | None) -> bool:
    """Whether an arrival or departure changes what readers of `current` know."""
    if delta.op == "move":
        return False
    indexed = current is not None and current.node_of(delta.row) >= 0
    return indexed if delta.op == "delete" else not indexed


class Made(NamedTuple):
    """The base of a version, where its items would rather be (rows,), and what became of those in the one before.

    `moved` of `common` items are in another node than before.
    """

    base: IndexBase
    wanted: Nodes
    moved: int
    common: int


def base_of(catalogue: Catalogue, assigner: Assigner, before: Nodes | None = None) -> Made:
    """Encode all items of a catalogue and seat those that are alive; `before` (rows,) are their nodes until now."""
    rows = np.arange(len(catalogue))
    placed = assigner.place(rows, catalogue.tokens)
    old = np.full(len(rows), -1, np.int32) if before is None else grown(before, len(rows), -1)[: len(rows)]
    alive = np.flatnonzero(catalogue.alive())
    nodes, wanted = np.full(len(rows), -1, np.int32), np.full(len(rows), -1, np.int32)
    nodes[alive], wanted[alive] = seat_all(assigner, Placement(placed.vectors[alive], placed.nodes[alive]), old[alive])
    both = (nodes >= 0) & (old >= 0)
    base = IndexBase(placed.vectors, nodes, assigner.representatives(placed.vectors, nodes))
    return Made(base, wanted, int((both & (nodes != old)).sum()), int(both.sum()))


def manifest_of(
    source: SnapshotManifest, number: int, made: Made, assigner: Assigner, reason: str, shards: int = 1
) -> VersionManifest:
    """Describe version `number`, made from the snapshot `source`, spread over `shards`."""
    base, rules = made.base, assigner.rules
    return VersionManifest(
        version=number,
        epoch=source.epoch,
        snapshot=source.snapshot,
        checkpoint=source.checkpoint,
        events=source.events,
        watermark=source.watermark,
        created_at=time.time_ns() // 1_000_000,
        items=int((base.nodes >= 0).sum()),
        rows=len(base.nodes),
        nodes=assigner.nodes,
        config_digest=source.config_digest,
        state_id=source.state_id,
        reason=reason,
        moved=made.moved,
        common=made.common,
        spilled=int((made.wanted >= 0).sum()),
        over_mean=0.0 if math.isinf(rules.over_mean) else rules.over_mean,
        floor=rules.floor,
        generation=source.generation,
        shards=tuple(range(shards)),
    )
