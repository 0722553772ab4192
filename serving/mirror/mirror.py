"""Mirror: everything that a request needs, in memory, updated by versions, item deltas and state deltas. No I/O.

One thread writes (`load_version`, `apply_deltas`, `apply_state`), any number of threads read. A new version is built
without the lock; the lock is held to swap it in, to apply a few deltas, and by readers for one chunk of requests.
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
from hsnn.trainer.features.item_counters import HALF_LIVES, ItemCounters
from hsnn.trainer.features.mass_expiry import Held, QuietClock, QuietEnds
from hsnn.trainer.messages import StateDelta

# Deltas applied while the lock is held once: about a millisecond, which requests have to wait.
DELTAS_PER_LOCK = 128


class EpochState:
    """Contents of a mirror for one epoch of the trainer; row numbers have no meaning outside of their epoch.

    Attributes
    ----------
    epoch, events, watermark : as in `hsnn.trainer.messages.StateDelta`
    departed_to : int
        Time by which items have left, epoch ms: the watermark, unless a mass expiry is held.
    quiet_ends : QuietEnds
        Up to where announced ends are obeyed, where the stream is quiet.
    index_share : float
        Share of the items that the index yields per request.
    index : MirroredIndex
        The version in use.
    items : MirroredItems
        Ids, features and expiry of the items, by row.
    states : ItemCounters
        Decayed counters of the items, by row.
    users : MirroredUsers
    exclusion : ExclusionRule
        Which of a user's past items are left out.
    cross_features : MirroredCrossFeatures
    item_tables, user_tables : ServedTables
        Columns of registered tables, by row.
    """

    def __init__(self, version: Version, engine: bool = False) -> None:
        manifest, snapshot = version.snapshot.manifest, version.snapshot
        self._engine = engine
        self.epoch, self.events, self.watermark = manifest.epoch, manifest.events, manifest.watermark
        self.departed_to = manifest.watermark if manifest.departed_to < 0 else manifest.departed_to
        self.quiet_ends, self._confirmed = QuietEnds(self.departed_to), manifest.expiry_confirmed
        self._mass_expiry_share = manifest.mass_expiry_share
        self.index_share, self.exclusion = manifest.index_share, manifest.exclusion
        self.items = MirroredItems(manifest.expire_after_idle_ms)
        self.states = ItemCounters()
        rows, items = np.arange(len(snapshot.item_ids)), snapshot.items
        self.states.set_rows(rows, items["values"], items["last"], items["first"])
        self.states.set_popularity(manifest.half_life, manifest.total, manifest.total_at)
        config = ModelConfig.model_validate(manifest.model)
        self.users = MirroredUsers(config, snapshot.user_ids, snapshot.users, manifest.exclusion.keep_ms)
        self.cross_features = MirroredCrossFeatures(config, snapshot)
        self.item_tables, self.user_tables = ServedTables(snapshot.items), ServedTables(snapshot.users)
        self.items.load_snapshot(snapshot, self.items.changed_features(snapshot))
        self.index = self.build_index(version)
        self._alive_mask: AliveMask | None = None
        self._item_vectors: ItemVectors | None = None
        self.refresh_expiry()

    def build_index(self, version: Version) -> MirroredIndex:
        """Build the index of a version of this epoch with the traffic of the current states; the one in use stays."""
        config = ModelConfig.model_validate(version.snapshot.manifest.model)
        nodes = version.index.nodes.copy()
        nodes[len(version.snapshot.item_ids) :] = -1  # no id is known yet; a delta will bring it
        index = MirroredIndex(
            version.manifest.version,
            config,
            version.snapshot.model,
            vectors=version.index.vectors,
            nodes=nodes,
            states=self.states,
            engine=self._engine,
        )
        index.reserve(len(self.states.last))
        self.states.reserve(len(index.vectors))
        self.cross_features.reserve(len(index.vectors))
        index.rebuild_log_mass(self.states, self.half_life)
        self.items.reserve(len(index.leaves.node_of))
        index.rebuild_records(self.items.unavailable_from, self.states, self.watermark)
        return index

    def refresh_expiry(self) -> None:
        """Recompute the expiry of all items."""
        rows = len(self.states.last)
        self.items.reserve(rows)
        self.items.refresh_expiry(slice(0, rows), self.states.last, self.quiet_ends.now)
        self._alive_mask = self._item_vectors = None
        self.items.reserve(len(self.index.leaves.node_of))
        self.index.set_ends(self.items.unavailable_from)

    @property
    def half_life(self) -> int:
        """Index of the half-life whose popularity predicts best."""
        return self.states.half_life

    @property
    def alive_mask(self) -> AliveMask:
        """Mask of the retrievable rows."""
        if self._alive_mask is None:
            nodes = self.index.leaves.node_of
            self.items.reserve(len(nodes))
            self._alive_mask = AliveMask(nodes, self.items.unavailable_from, self.departed_to)
        return self._alive_mask

    @property
    def corpus(self) -> int:
        """Number of retrievable items."""
        return self.alive_mask.count

    def alive(self) -> NDArray[np.bool_]:
        """Mask (rows,) of the retrievable rows: indexed, not deleted, not expired; read-only."""
        return self.alive_mask.mask

    def is_retrievable(self, row: int) -> bool:
        """Whether the item in this row can be returned now."""
        alive = self.alive()
        return row < len(alive) and bool(alive[row])

    def item_vectors(self, now: int) -> ItemVectors:
        """Vectors of all retrievable items at time `now`, epoch ms; cached for one time until anything changes."""
        if self._item_vectors is None or self._item_vectors.now != now:
            self._item_vectors = ItemVectors(self.index, self.states, self.alive(), now)
        return self._item_vectors

    def apply_deltas(self, deltas: Sequence[Delta], index: MirroredIndex) -> None:
        """Apply changes of items to `index` and to the items, in order; traffic and expiry are recomputed once."""
        rows = np.unique([delta.row for delta in deltas])
        self.states.reserve(int(rows[-1]) + 1)
        self.items.reserve(int(rows[-1]) + 1)
        self._set_activity_times([delta for delta in deltas if delta.op != "delete"])
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
        index.state_vectors.update(rows, self.states)
        self.items.refresh_expiry(rows, self.states.last[rows], self.quiet_ends.now)
        self.items.reserve(len(index.leaves.node_of))
        index.update_records(rows, self.items.unavailable_from, self.states, self.watermark)
        self._mark_changed(rows)

    def _set_activity_times(self, deltas: Sequence[Delta]) -> None:
        """Take the times of activity from the deltas of items without a state; of an item's deltas the first counts."""
        times = {delta.row: (delta.last, delta.first) for delta in reversed(deltas)}
        rows = np.array([row for row in times if self.states.last[row] == 0], np.int64)
        if len(rows):
            last, first = np.array([times[row] for row in rows.tolist()], np.int64).T
            self.states.set_rows(rows, np.zeros((len(rows), len(HALF_LIVES)), np.float32), last, first)

    def apply_state(self, delta: StateDelta) -> None:
        """Overwrite the changed item and user states, at a cost in proportion to their number."""
        self.events, self.watermark = max(self.events, delta.events), max(self.watermark, delta.watermark)
        self._follow_departures(delta)
        self.states.set_rows(delta.item_rows, delta.item_values, delta.item_last, delta.item_first)
        self.users.apply_state(delta)
        self.cross_features.apply_state(delta)
        self.item_tables.put(delta.item_rows, delta.item_tables)
        self.user_tables.put(delta.user_rows, delta.user_tables)
        rows = max(int(delta.item_rows.max(initial=-1)), int(delta.user_items.max(initial=-1))) + 1
        self.items.reserve(rows)
        self.index.reserve(rows)
        self.cross_features.reserve(rows)
        self.items.refresh_expiry(delta.item_rows, delta.item_last, self.quiet_ends.now)
        self.index_share = delta.index_share
        same = delta.half_life == self.half_life
        self.states.set_popularity(delta.half_life, delta.total, delta.total_at)
        if same:
            self.index.update_log_mass(delta.item_rows.astype(np.int64), self.states, self.half_life)
            self.index.state_vectors.update(delta.item_rows, self.states)
        else:
            self.index.rebuild_log_mass(self.states, self.half_life)
            self.index.state_vectors.rebuild(self.states)
        self.items.reserve(len(self.index.leaves.node_of))
        changed, until = delta.item_rows.astype(np.int64), self.items.unavailable_from
        if same:
            self.index.update_records(changed, until, self.states, self.watermark)
        else:
            self.index.rebuild_records(until, self.states, self.watermark)
        self._mark_changed(changed)

    def _mark_changed(self, rows: NDArray[np.int64]) -> None:
        """Invalidate what depends on nodes or expiry of unique `rows` (n,), and on the watermark."""
        self._item_vectors = None
        if self._alive_mask is not None:
            nodes = self.index.leaves.node_of
            self.items.reserve(len(nodes))
            expiry = self.items.unavailable_from
            self._alive_mask.update(rows[rows < len(nodes)], nodes, expiry, self.departed_to)
            self._alive_mask.advance(self.departed_to, expiry)

    def _follow_departures(self, delta: StateDelta) -> None:
        """Take over what a state delta says of departures; ends that a quiet stream has passed stay passed."""
        departed_to = self.watermark if delta.departed_to < 0 else delta.departed_to
        if departed_to != self.departed_to:
            passed, self.departed_to = self.quiet_ends.now, departed_to
            self.quiet_ends.follow(departed_to)
            self._refresh_ends(departed_to, passed)  # a stream may go on from before: then they end later
        self._confirmed = delta.expiry_confirmed

    def obey_ends(self, quiet_ms: int) -> None:
        """Obey announced ends though no event has come for so long; at rest while the trainer holds a mass expiry."""
        before = self.quiet_ends.now
        if self.departed_to == self.watermark and self.quiet_ends.advance(
            self.watermark + quiet_ms,
            self.items.expires_at[: len(self.alive())],
            self.alive(),
            share=self._mass_expiry_share,
            confirmed=self._confirmed,
        ):
            self._refresh_ends(before, self.quiet_ends.now)

    def continue_quiet_ends(self, before: EpochState) -> None:
        """Obey the ends that the state before obeys, if no event has come since."""
        if before.departed_to == self.departed_to:
            self.quiet_ends = before.quiet_ends
            self.refresh_expiry()

    def _refresh_ends(self, after: int, until: int) -> None:
        """Recompute the rows whose announced end lies between two times."""
        ends = self.items.expires_at[: len(self.states.last)]
        rows = np.flatnonzero((ends > after) & (ends <= until))
        if len(rows):
            self.items.refresh_expiry(rows, self.states.last[rows], self.quiet_ends.now)
            self.items.reserve(len(self.index.leaves.node_of))
            self.index.set_ends(self.items.unavailable_from)
            self._mark_changed(rows)


class Mirror:
    """The newest state, safe to read while it is updated.

    A mirror that was updated by versions and deltas equals one loaded from the last version, its deltas and the states
    since: states are a function of log positions, and every update overwrites with absolute values.

    Parameters
    ----------
    engine
        Whether the compiled engine's arrays are kept as well.

    Attributes
    ----------
    lock
        Must be held while reading `state`.
    """

    def __init__(self, engine: bool = False) -> None:
        self._engine = engine
        self.lock = threading.Lock()
        self._state: EpochState | None = None

    @property
    def loaded(self) -> bool:
        """Whether a version has been loaded."""
        return self._state is not None

    @property
    def state(self) -> EpochState:
        """Current state; the `lock` must be held while it is read.

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
        """Epoch of the trainer whose rows are mirrored, 0 before the first version."""
        return self._state.epoch if self._state else 0

    @property
    def watermark(self) -> int:
        """Event time up to which states are known, epoch ms; 0 before the first version."""
        return self._state.watermark if self._state else 0

    def is_indexed(self, item: str) -> bool:
        """Whether an item is in the index."""
        return self._state is not None and self._state.index.is_indexed(self._state.items.ids.row(item))

    def load_version(self, version: Version, deltas: Sequence[Delta] = ()) -> bool:
        """Switch to a version and the `deltas` that its stream already holds; True if everything was reloaded.

        A version of the same epoch changes model, vectors and nodes, and keeps the states; one of another epoch
        replaces everything.
        """
        if self._state is None or self._state.epoch != version.manifest.epoch:
            state = EpochState(version, self._engine)
            if self._state is not None:
                state.continue_quiet_ends(self._state)
            self._apply(state, deltas, state.index)
            with self.lock:
                self._state = state
            return True
        self._swap_index(self._state, version, deltas)
        return False

    def reset(self) -> None:
        """Make the next `load_version` reload everything; until then requests are answered from the current state."""
        if self._state is not None:
            self._state.epoch = -1  # no version has this epoch

    def apply_delta(self, delta: Delta) -> bool:
        """Insert, move or delete one item; see `apply_deltas`."""
        return bool(self.apply_deltas([delta]))

    def apply_deltas(self, deltas: Sequence[Delta]) -> list[Delta]:
        """Insert, move or delete items, in order; return the deltas that were applied: others are of another epoch."""
        state = self._state
        return [] if state is None else self._apply(state, deltas, state.index)

    def apply_state(self, delta: StateDelta) -> bool:
        """Apply changed states; False if they are of another epoch than the version in use."""
        with self.lock:
            if self._state is None or self._state.epoch != delta.epoch:
                return False
            self._state.apply_state(delta)
            return True

    def obey_ends(self, quiet: QuietClock) -> Held | None:
        """Obey announced ends where the stream is quiet; return what is held instead, because it is too much."""
        with self.lock:
            if self._state is None:
                return None
            self._state.obey_ends(quiet.elapsed_ms(self._state.watermark))
            return self._state.quiet_ends.held

    def _swap_index(self, state: EpochState, version: Version, deltas: Sequence[Delta]) -> None:
        index, features = state.build_index(version), state.items.changed_features(version.snapshot)
        with self.lock:
            state.items.load_snapshot(version.snapshot, features)
            state.cross_features.load_snapshot(version.snapshot, features)
            state.refresh_expiry()
        self._apply(state, deltas, index)
        with self.lock:
            state.index = index
            state.refresh_expiry()

    def _apply(self, state: EpochState, deltas: Sequence[Delta], index: MirroredIndex) -> list[Delta]:
        """Apply the deltas of this epoch to an index of a state, a few per lock; return them."""
        relevant = [delta for delta in deltas if delta.epoch == state.epoch and delta.op != "superseded"]
        for start in range(0, len(relevant), DELTAS_PER_LOCK):
            with self.lock:
                state.apply_deltas(relevant[start : start + DELTAS_PER_LOCK], index)
        return relevant
