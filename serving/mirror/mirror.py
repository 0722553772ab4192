"""The mirror: everything a request needs, in memory, fed by versions, item deltas and state deltas. No I/O.

One thread writes (`load_version`, `apply_deltas`, `apply_state`), any number read. What a version brings is built
aside; the lock is held to swap it in, to apply some deltas, and by readers for one chunk of requests.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from hsnn.indexer.store.delta import Delta
from hsnn.indexer.store.version import Version
from hsnn.serving.errors import NotReadyError
from hsnn.serving.mirror.alive_mask import AliveMask
from hsnn.serving.mirror.cross_features import MirroredCrossFeatures
from hsnn.serving.mirror.index import MirroredIndex
from hsnn.serving.mirror.item_vectors import ItemVectors
from hsnn.serving.mirror.items import MirroredItems
from hsnn.serving.mirror.served_tables import ServedTables
from hsnn.serving.mirror.users import MirroredUsers
from hsnn.trainer.config.model import ModelConfig
from hsnn.trainer.features.item_counters import HALF_LIVES, ItemStates
from hsnn.trainer.messages import StateDelta

DELTAS_PER_LOCK = 128
"""Deltas applied while the lock is held once: about a millisecond."""


class EpochState:
    """What a mirror holds of one epoch (incarnation of the trainer); rows mean nothing outside of it.

    Attributes
    ----------
    epoch, events, watermark, half_life : as in `hsnn.trainer.messages.StateDelta`
    index : the version in use
    catalogue, states : items by row
    people : users by row
    crossing : what the cross features need, by item row
    item_tables, user_tables : columns of registered tables, by row
    """

    def __init__(self, version: Version) -> None:
        manifest, snapshot = version.snapshot.manifest, version.snapshot
        self.epoch, self.events, self.watermark = manifest.epoch, manifest.events, manifest.watermark
        self.half_life = manifest.half_life
        self.items = MirroredItems(manifest.expire_after_idle_ms)
        self.states = ItemStates()
        rows, items = np.arange(len(snapshot.item_ids)), snapshot.items
        self.states.put(rows, items["values"], items["last"], items["first"])
        config = ModelConfig.model_validate(manifest.model)
        self.users = MirroredUsers(config, snapshot.user_ids, snapshot.users)
        self.cross_features = MirroredCrossFeatures(config, snapshot)
        self.item_tables, self.user_tables = ServedTables(snapshot.items), ServedTables(snapshot.users)
        self.items.load_snapshot(snapshot, self.items.changed_features(snapshot))
        self.index = self.build_index(version)
        self._alive_mask: AliveMask | None = None
        self._item_vectors: ItemVectors | None = None
        self.refresh_expiry()

    def build_index(self, version: Version) -> MirroredIndex:
        """Index of a version of this epoch, weighed by the current states; changes nothing here."""
        config = ModelConfig.model_validate(version.snapshot.manifest.model)
        nodes = version.index.nodes.copy()
        nodes[len(version.snapshot.item_ids) :] = -1  # without an id yet: their deltas will bring it
        index = MirroredIndex(version.manifest.version, config, version.snapshot.model, version.index.vectors, nodes)
        index.reserve(len(self.states.last))
        self.states.reserve(len(index.vectors))
        self.cross_features.reserve(len(index.vectors))
        index.rebuild_log_mass(self.states, self.half_life)
        return index

    def refresh_expiry(self) -> None:
        """Recompute the time of death of all items."""
        rows = len(self.states.last)
        self.items.reserve(rows)
        self.items.refresh_expiry(slice(0, rows), self.states.last)
        self._alive_mask = self._item_vectors = None

    @property
    def alive_mask(self) -> AliveMask:
        """Which rows may be returned."""
        if self._alive_mask is None:
            nodes = self.index.leaves.node_of
            self.items.reserve(len(nodes))
            self._alive_mask = AliveMask(nodes, self.items.unavailable_from, self.watermark)
        return self._alive_mask

    @property
    def corpus(self) -> int:
        """How many rows may be returned."""
        return self.alive_mask.count

    def alive(self) -> NDArray[np.bool_]:
        """Which rows may be returned: indexed, not deleted, not expired at the watermark; not to be written to."""
        return self.alive_mask.mask

    def item_vectors(self, now: int) -> ItemVectors:
        """All living items at time `now`; the last one is kept until anything here changes."""
        if self._item_vectors is None or self._item_vectors.now != now:
            self._item_vectors = ItemVectors(self.index, self.states, self.alive(), now)
        return self._item_vectors

    def apply_deltas(self, deltas: Sequence[Delta], index: MirroredIndex) -> None:
        """Change items in `index` and in the catalogue, in order; worth and death are worked out once, at the end."""
        rows = np.unique([delta.row for delta in deltas])
        self.states.reserve(int(rows[-1]) + 1)
        self.items.reserve(int(rows[-1]) + 1)
        self._set_first_seen([delta for delta in deltas if delta.op != "delete"])
        for delta in deltas:
            if delta.op == "delete":
                index.remove(delta.row)
                if delta.reason == "deleted":
                    self.items.delete(delta.row, self.watermark)
            else:
                self.items.set_item(delta.row, delta.item, delta.features, delta.expires_at)
                self.cross_features.set_features(delta.row, delta.features)
                index.insert(delta.row, delta.node, delta.vector)
        index.update_log_mass(rows, self.states, self.half_life)
        self.items.refresh_expiry(rows, self.states.last[rows])
        self._mark_changed(rows)

    def _set_first_seen(self, deltas: Sequence[Delta]) -> None:
        """Take signs of life from deltas where no state tells of any; of an item's deltas the first."""
        lives = {delta.row: (delta.last, delta.first) for delta in reversed(deltas)}
        rows = np.array([row for row in lives if self.states.last[row] == 0], np.int64)
        if len(rows):
            last, first = np.array([lives[row] for row in rows.tolist()], np.int64).T
            self.states.put(rows, np.zeros((len(rows), len(HALF_LIVES)), np.float32), last, first)

    def apply_state(self, delta: StateDelta) -> None:
        """Overwrite the touched item and user states; costs in proportion to them."""
        self.events, self.watermark = max(self.events, delta.events), max(self.watermark, delta.watermark)
        self.states.put(delta.item_rows, delta.item_values, delta.item_last, delta.item_first)
        self.users.apply_state(delta)
        self.cross_features.apply_state(delta)
        self.item_tables.put(delta.item_rows, delta.item_tables)
        self.user_tables.put(delta.user_rows, delta.user_tables)
        rows = max(int(delta.item_rows.max(initial=-1)), int(delta.user_items.max(initial=-1))) + 1
        self.items.reserve(rows)
        self.index.reserve(rows)
        self.cross_features.reserve(rows)
        self.items.refresh_expiry(delta.item_rows, delta.item_last)
        if delta.half_life == self.half_life:
            self.index.update_log_mass(delta.item_rows.astype(np.int64), self.states, self.half_life)
        else:
            self.half_life = delta.half_life
            self.index.rebuild_log_mass(self.states, self.half_life)
        self._mark_changed(delta.item_rows.astype(np.int64))

    def _mark_changed(self, rows: NDArray[np.int64]) -> None:
        """Note that nodes or times of death of unique `rows` (n,) may be others, and that time may have passed."""
        self._item_vectors = None
        if self._alive_mask is not None:
            nodes = self.index.leaves.node_of
            self.items.reserve(len(nodes))
            dead_at = self.items.unavailable_from
            self._alive_mask.update(rows[rows < len(nodes)], nodes, dead_at, self.watermark)
            self._alive_mask.advance(self.watermark, dead_at)


class Mirror:
    """The newest world, safe to read while it is fed.

    A mirror that was fed by versions and deltas equals one that was loaded from the last version, its deltas and the
    states since: states are a function of log positions, and everything that is applied is absolute.

    Attributes
    ----------
    lock
        To be held while reading `world`.
    """

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self._state: EpochState | None = None

    @property
    def loaded(self) -> bool:
        """Whether there is a version to answer from."""
        return self._state is not None

    @property
    def state(self) -> EpochState:
        """What is known; read it under the `lock`.

        Raises
        ------
        NotReadyError
            No version has been loaded yet.
        """
        if self._state is None:
            raise NotReadyError("no version of the index has been published yet; try again when the scheduler has")
        return self._state

    @property
    def version(self) -> int:
        """Number of the version in use, 0 before the first."""
        return self._state.index.version if self._state else 0

    @property
    def epoch(self) -> int:
        """Incarnation of the trainer whose rows are mirrored, 0 before the first."""
        return self._state.epoch if self._state else 0

    @property
    def watermark(self) -> int:
        """Event time up to which states are known, epoch ms; 0 before the first version."""
        return self._state.watermark if self._state else 0

    def is_indexed(self, item: str) -> bool:
        """Whether an item is in the index."""
        return self._state is not None and self._state.index.is_indexed(self._state.items.ids.row(item))

    def load_version(self, version: Version, deltas: Sequence[Delta] = ()) -> bool:
        """Swap to a version with the `deltas` that its stream already holds; True if everything was reloaded.

        A version of the same epoch changes model, vectors and nodes, and keeps the states; one of another epoch
        replaces everything by its base.
        """
        if self._state is None or self._state.epoch != version.manifest.epoch:
            world = EpochState(version)
            self._apply(world, deltas, world.index)
            with self.lock:
                self._state = world
            return True
        self._swap(self._state, version, deltas)
        return False

    def reset(self) -> None:
        """Forget the epoch, so that the next `load_version` reloads everything; answers go on from what is there."""
        if self._state is not None:
            self._state.epoch = -1

    def apply_delta(self, delta: Delta) -> bool:
        """Insert, move or delete one item; see `apply_deltas`."""
        return bool(self.apply_deltas([delta]))

    def apply_deltas(self, deltas: Sequence[Delta]) -> list[Delta]:
        """Insert, move or delete items, in order; return those that were for this epoch, and changes of items."""
        world = self._state
        return [] if world is None else self._apply(world, deltas, world.index)

    def apply_state(self, delta: StateDelta) -> bool:
        """Take over touched states; False if they are of another epoch than the version in use."""
        with self.lock:
            if self._state is None or self._state.epoch != delta.epoch:
                return False
            self._state.apply_state(delta)
            return True

    def _swap(self, world: EpochState, version: Version, deltas: Sequence[Delta]) -> None:
        index, changes = world.build_index(version), world.items.changed_features(version.snapshot)
        with self.lock:
            world.items.load_snapshot(version.snapshot, changes)
            world.cross_features.load_snapshot(version.snapshot, changes)
            world.refresh_expiry()
        self._apply(world, deltas, index)
        with self.lock:
            world.index = index
            world.refresh_expiry()

    def _apply(self, world: EpochState, deltas: Sequence[Delta], index: MirroredIndex) -> list[Delta]:
        """Change items in an index of a world, some at once; return the deltas that did."""
        meant = [delta for delta in deltas if delta.epoch == world.epoch and delta.op != "superseded"]
        for start in range(0, len(meant), DELTAS_PER_LOCK):
            with self.lock:
                world.apply_deltas(meant[start : start + DELTAS_PER_LOCK], index)
        return meant
