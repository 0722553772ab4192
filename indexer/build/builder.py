"""Builder: make a version from a snapshot and from everything that happened since."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hsnn.indexer.assign.assigner import Assigner, Assignment, MakeEncoder, snapshot_encoder
from hsnn.indexer.assign.capacity import NEAREST_NODE, PlacementRules
from hsnn.indexer.assign.catalogue import ItemCatalogue, Rows
from hsnn.indexer.assign.catalogue_sync import catch_up
from hsnn.indexer.assign.live_index import LiveIndex, RowFilter, peak_items, replay_nodes
from hsnn.indexer.assign.placement import place_all
from hsnn.indexer.build.version_gate import VersionGate
from hsnn.indexer.job_context import check_deadline
from hsnn.indexer.store.bulk_load import ItemColumns
from hsnn.indexer.store.delta import Delta, DeltaOp
from hsnn.indexer.store.version import IndexBase, Version, VersionManifest
from hsnn.indexer.store.writer import IndexStore
from hsnn.trainer.messages import Snapshot, SnapshotManifest
from hsnn.trainer.model.nearest_points import KeptAssignment
from hsnn.trainer.rowstore.arrays import grown

Nodes = NDArray[np.int32]
CurrentNodes = Callable[[int], Nodes | None]
"""Nodes (rows,) of the items now, if the version in use is of an epoch; None if it is of another."""


class VersionDraft:
    """A version that is being made: its base is in Redis, no reader uses it yet.

    Attributes
    ----------
    manifest : VersionManifest
    catalogue
        The snapshot's items, and what happened since.
    live
        The draft's own index.
    """

    def __init__(self, store: IndexStore, manifest: VersionManifest, catalogue: ItemCatalogue, live: LiveIndex) -> None:
        self._store = store
        self.manifest = manifest
        self.catalogue = catalogue
        self.live = live

    def advance(self, current: LiveIndex | None) -> None:
        """Apply most of what happened since the snapshot, while deltas of `current` are still written.

        What readers of `current` do not know yet is left to `publish`, so that its freshness is measured once.
        """
        catch_up(self.catalogue, self._store)
        self._write(self._pending(current, None if current is None else _known_to(current)))

    def publish(self, current: LiveIndex | None) -> list[Delta]:
        """Apply the rest, then flip readers to this version; nobody may write deltas of `current` meanwhile.

        Parameters
        ----------
        current
            The index that is replaced, if its rows mean the same items; None for the first version of an epoch.

        Returns
        -------
        list of Delta
            Arrivals and departures that are new to readers of `current`.

        Raises
        ------
        VersionChangedError
            Another process changed or flipped the current version; nothing became visible.
        FencedError
            The lease is lost; nothing became visible.
        PublishHeldError
            Publishing is held; nothing became visible.
        JobTimeoutError
            The job's time is over; nothing became visible.
        """
        previous = self._store.current()
        seen = "" if previous is None else self._store.last_delta_id(previous)
        catch_up(self.catalogue, self._store)
        deltas = self._pending(current)
        self._write(deltas)
        check_deadline("before the flip")
        self._store.flip(self.manifest.version, previous, seen)
        return [delta for delta in deltas if _is_news(delta, current)]

    def _pending(self, current: LiveIndex | None, select: RowFilter | None = None) -> list[Delta]:
        if current is not None:
            self.catalogue.mark_indexed_announced(current.nodes_of_rows(len(self.catalogue)))
        return self.live.pending_deltas(self.catalogue, select)

    def _write(self, deltas: list[Delta]) -> None:
        self._store.apply(self.manifest.version, deltas)
        self.live.apply(deltas)
        self.catalogue.mark_announced([delta.row for delta in deltas])


class Builder:
    """Makes versions.

    Parameters
    ----------
    store
        Where versions are written; with a lease.
    make_encoder
        Makes the encoder of a snapshot's model.
    chunk
        Items encoded at once.
    rules
        How items are placed.
    gate
        Refuses versions that must not be served; None: none is refused.
    """

    def __init__(
        self,
        store: IndexStore,
        make_encoder: MakeEncoder = snapshot_encoder,
        chunk: int = 65_536,
        rules: PlacementRules = NEAREST_NODE,
        gate: VersionGate | None = None,
    ) -> None:
        self._gate = gate
        self._store = store
        self._make_encoder = make_encoder
        self._chunk = chunk
        self._rules = rules
        self._kept: KeptAssignment | None = None

    def make_assigner(self, snapshot: Snapshot) -> Assigner:
        """Make the assigner of a snapshot's model."""
        return Assigner(snapshot, self._make_encoder(snapshot), self._chunk, self._rules)

    def restore_live_index(self, version: Version, deltas: Sequence[Delta]) -> LiveIndex:
        """Restore the index of an existing version, after its deltas; it keeps the bound that it was made with."""
        rules = self._rules.for_version(version.manifest)
        assigner = Assigner(version.snapshot, self._make_encoder(version.snapshot), self._chunk, rules)
        base = version.index.nodes
        peak, shards = peak_items(base, deltas), len(version.manifest.shards)
        return LiveIndex(version.manifest.version, assigner, replay_nodes(base, deltas), peak=peak, shards=shards)

    def build_draft(self, number: int, reason: str, current_nodes: CurrentNodes = lambda _: None) -> VersionDraft:
        """Encode and place the items of snapshot `number`, and write them as a new version that is not published.

        Vectors of items that left are kept, too: the histories of users still refer to them. An item whose node in the
        version in use, by `current_nodes`, is hardly farther than its nearest one stays there.

        Raises
        ------
        SnapshotNotFoundError
            The snapshot is not there (any more).
        VersionRefusedError
            The gate refuses it; nothing was written.
        """
        snapshot = self._store.load_snapshot(number)
        catalogue = ItemCatalogue(snapshot)
        assigner = self.make_assigner(snapshot)
        kept = KeptAssignment(len(catalogue), self._kept)
        made = build_base(catalogue, assigner, current_nodes(snapshot.manifest.epoch), kept)
        self._kept = kept.forget_before()
        base = made.base
        manifest = make_manifest(
            snapshot.manifest,
            self._store.allocate_version(),
            made,
            assigner,
            reason=reason,
            shards=self._store.shard_count,
        )
        if self._gate is not None:
            self._gate.check(self._store, manifest, snapshot, base)
        items = ItemColumns(catalogue.ids, catalogue.expires_at)
        check_deadline("before a version is written")
        self._store.write_unpublished(manifest, base, items)
        live = LiveIndex(manifest.version, assigner, base.nodes, made.preferred, shards=self._store.shard_count)
        return VersionDraft(self._store, manifest, catalogue, live)


def _known_to(current: LiveIndex) -> RowFilter:
    """Select what is not new to readers of `current`: departures of items they lack, arrivals of items they have."""

    def select(op: DeltaOp, rows: Rows) -> NDArray[np.bool_]:
        indexed = current.nodes_of_rows(int(rows.max(initial=-1)) + 1)[rows] >= 0
        return ~indexed if op == "delete" else indexed

    return select


def _is_news(delta: Delta, current: LiveIndex | None) -> bool:
    """Tell whether a delta is an arrival or departure that is new to readers of `current`."""
    if delta.op == "move":
        return False
    indexed = current is not None and current.node_of(delta.row) >= 0
    return indexed if delta.op == "delete" else not indexed


class BuiltBase(NamedTuple):
    """The base of a version, the full nodes that its items would rather be in (rows,), and how many items moved.

    `moved` of `common` items are in another node than in the version before.
    """

    base: IndexBase
    preferred: Nodes
    moved: int
    common: int


def build_base(
    catalogue: ItemCatalogue, assigner: Assigner, before: Nodes | None = None, kept: KeptAssignment | None = None
) -> BuiltBase:
    """Encode all items of a catalogue and place those that are alive; `before` (rows,) are their nodes until now.

    With `kept`, items that cannot have changed their nearest node since the version before are not compared with all.
    """
    rows = np.arange(len(catalogue))
    encoded = assigner.assign(rows, catalogue.tokens, kept)
    old = np.full(len(rows), -1, np.int32) if before is None else grown(before, len(rows), -1)[: len(rows)]
    alive = np.flatnonzero(catalogue.alive_mask())
    nodes, preferred = np.full(len(rows), -1, np.int32), np.full(len(rows), -1, np.int32)
    placement = place_all(assigner, Assignment(encoded.vectors[alive], encoded.nodes[alive]), old[alive])
    nodes[alive], preferred[alive] = placement
    in_both = (nodes >= 0) & (old >= 0)
    base = IndexBase(encoded.vectors, nodes, assigner.representatives(encoded.vectors, nodes))
    return BuiltBase(base, preferred, moved=int((in_both & (nodes != old)).sum()), common=int(in_both.sum()))


def make_manifest(
    source: SnapshotManifest, number: int, made: BuiltBase, assigner: Assigner, reason: str, shards: int = 1
) -> VersionManifest:
    """Make the manifest of version `number`, made from the snapshot `source`, spread over `shards`."""
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
        nodes=assigner.node_count,
        config_digest=source.config_digest,
        state_id=source.state_id,
        reason=reason,
        moved=made.moved,
        common=made.common,
        spilled=int((made.preferred >= 0).sum()),
        over_mean=0.0 if math.isinf(rules.over_mean) else rules.over_mean,
        floor=rules.floor,
        generation=source.generation,
        shards=tuple(range(shards)),
    )
