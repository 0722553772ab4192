"""Mirror: everything that a request needs, in memory, updated by versions, item deltas and state deltas. No I/O.

One thread writes (`load_version`, `apply_deltas`, `apply_state`), any number of threads read.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from copy import copy

import numpy as np
from numpy.typing import NDArray

from hsnn.indexer.store.delta import Delta
from hsnn.indexer.store.version import Version
from hsnn.serving.errors import NotReadyError
from hsnn.serving.mirror.alive_mask import AliveMask
from hsnn.serving.mirror.cross_features import MirroredCrossFeatures
from hsnn.serving.mirror.every_item import EveryItem
from hsnn.serving.mirror.index import MirroredIndex
from hsnn.serving.mirror.item_vectors import ItemVectors
from hsnn.serving.mirror.items import MirroredItems
from hsnn.serving.mirror.served_tables import ServedTables
from hsnn.serving.mirror.users import MirroredUsers
from hsnn.trainer.config.model import ModelConfig
from hsnn.trainer.features.item_counters import HALF_LIVES, ItemCounters
from hsnn.trainer.features.mass_expiry import Held, QuietClock, QuietEnds
from hsnn.trainer.messages import StateDelta

# Deltas applied in one update, about a millisecond: so long readers wait where there is one copy.
DELTAS_PER_UPDATE = 128


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
        self._every_item: EveryItem | None = None
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
        self._alive_mask = self._item_vectors = self._every_item = None
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

    def every_item(self, now: int) -> EveryItem:
        """Return what the engine reads of all items at time `now`, epoch ms; kept as `item_vectors` are."""
        if self._every_item is None or self._every_item.now != now:
            self._every_item = EveryItem(self.index, self.states, now)
        return self._every_item

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

    def time_of(self, as_of: int | None) -> int:
        """Return the time that a request is answered as of, epoch ms: the watermark, unless it names another."""
        return self.watermark if as_of is None else as_of

    def swap_index(self, version: Version, deltas: Sequence[Delta]) -> None:
        """Switch to another version of this epoch, with its deltas so far."""
        features = self.items.changed_features(version.snapshot)
        index = self.build_index(version)
        self.items.load_snapshot(version.snapshot, features)
        self.cross_features.load_snapshot(version.snapshot, features)
        self.refresh_expiry()
        if deltas:
            self.apply_deltas(deltas, index)
        self.index = index
        self.refresh_expiry()

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
        self._item_vectors = self._every_item = None
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
            self.quiet_ends = copy(before.quiet_ends)
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
    double_buffered
        Whether two copies are kept, at twice the memory: an update changes the one that nobody reads, which is read
        from then on, and then the other one, once its last reader has left it. So no reader waits for an update. With
        one copy, updates and readers exclude each other.
    """

    def __init__(self, engine: bool = False, double_buffered: bool = False) -> None:
        self._engine, self.warm = engine, False
        self._copies: list[EpochState | None] = [None, None] if double_buffered else [None]
        self._front = 0
        self._readers = [0, 0]
        # Held for a moment only: while a reader comes or goes, or copies change places.
        self._places = threading.Condition()
        # Readers that fill caches of a state exclude each other.
        self._caches = threading.RLock()
        self._pinned = threading.local()

    @classmethod
    def holding(cls, state: EpochState) -> Mirror:
        """Make a mirror of one copy that holds a state."""
        mirror = cls()
        mirror._copies[0] = state
        return mirror

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Read `state`, which does not change inside; other readers wait, updates do not unless there is one copy."""
        with self._caches, self.pinned():
            yield

    @contextmanager
    def pinned(self) -> Iterator[EpochState | None]:
        """Read the newest state beside all other readers; what fills caches of the state takes `reading`.

        Where there is one copy, nothing may update it meanwhile.
        """
        before = getattr(self._pinned, "state", None)
        if before is not None:  # this thread reads already
            yield before
            return
        with self._places:
            place = self._front
            self._readers[place] += 1
            state = self._pinned.state = self._copies[place]
        try:
            yield state
        finally:
            self._pinned.state = None
            with self._places:
                self._readers[place] -= 1
                self._places.notify_all()

    @property
    def never_waits(self) -> bool:
        """Whether readers never wait for updates."""
        return len(self._copies) > 1

    @property
    def loaded(self) -> bool:
        """Whether a version has been loaded."""
        return self._newest is not None

    @property
    def state(self) -> EpochState:
        """Current state, to be read inside `reading`, which holds it.

        Raises
        ------
        NotReadyError
            No version has been loaded yet.
        """
        state = getattr(self._pinned, "state", None) or self._newest
        if state is None:
            raise NotReadyError("no version of the index has been published yet; try again when the scheduler has")
        return state

    @property
    def version(self) -> int:
        """Number of the version in use, 0 before the first."""
        return self._newest.index.version if self._newest else 0

    @property
    def epoch(self) -> int:
        """Epoch of the trainer whose rows are mirrored, 0 before the first version."""
        return self._newest.epoch if self._newest else 0

    @property
    def watermark(self) -> int:
        """Event time up to which states are known, epoch ms; 0 before the first version."""
        return self._newest.watermark if self._newest else 0

    @property
    def _newest(self) -> EpochState | None:
        return self._copies[self._front]

    def is_indexed(self, item: str) -> bool:
        """Whether an item is in the index."""
        state = self._newest
        return state is not None and state.index.is_indexed(state.items.ids.row(item))

    def load_version(self, version: Version, deltas: Sequence[Delta] = ()) -> bool:
        """Switch to a version and the `deltas` that its stream already holds; True if everything was reloaded.

        A version of the same epoch changes model, vectors and nodes, and keeps the states; one of another epoch
        replaces everything.
        """
        relevant = _of_epoch(deltas, version.manifest.epoch)
        if self._newest is None or self._newest.epoch != version.manifest.epoch:

            def load(before: EpochState | None) -> EpochState:
                state = EpochState(version, self._engine)
                if before is not None:
                    state.continue_quiet_ends(before)
                if relevant:
                    state.apply_deltas(relevant, state.index)
                return state

            self._update(load)
            return True

        def swap(state: EpochState | None) -> EpochState:
            assert state is not None
            state.swap_index(version, relevant)
            return state

        self._update(swap)
        return False

    def reset(self) -> None:
        """Make the next `load_version` reload everything; until then requests are answered from the current state."""
        for state in self._copies:
            if state is not None:
                state.epoch = -1  # no version has this epoch

    def apply_delta(self, delta: Delta) -> bool:
        """Insert, move or delete one item; see `apply_deltas`."""
        return bool(self.apply_deltas([delta]))

    def apply_deltas(self, deltas: Sequence[Delta]) -> list[Delta]:
        """Insert, move or delete items, in order; return the deltas that were applied: others are of another epoch."""
        relevant = _of_epoch(deltas, self.epoch) if self.loaded else []
        for start in range(0, len(relevant), DELTAS_PER_UPDATE):
            part = relevant[start : start + DELTAS_PER_UPDATE]
            self._change(lambda state, part=part: state.apply_deltas(part, state.index))  # type: ignore[misc]
        return relevant

    def apply_state(self, delta: StateDelta) -> bool:
        """Apply changed states; False if they are of another epoch than the version in use."""
        if self._newest is None or self._newest.epoch != delta.epoch:
            return False
        self._change(lambda state: state.apply_state(delta))
        return True

    def obey_ends(self, quiet: QuietClock) -> Held | None:
        """Obey announced ends where the stream is quiet; return what is held instead, because it is too much."""
        if self._newest is None:
            return None
        elapsed = quiet.elapsed_ms(self._newest.watermark)
        self._change(lambda state: state.obey_ends(elapsed))
        return self._newest.quiet_ends.held

    def _change(self, change: Callable[[EpochState], None]) -> None:
        def changed(state: EpochState | None) -> EpochState:
            assert state is not None
            change(state)
            return state

        self._update(changed)

    def _update(self, make: Callable[[EpochState | None], EpochState]) -> None:
        """Replace every copy by what `make` returns for it, the same one or another; one thread alone may call this."""
        if not self.never_waits:
            with self._caches:
                self._copies[0] = make(self._copies[0])
            return
        back = 1 - self._front
        self._copies[back] = make(self._copies[back])
        with self._places:
            self._front = back
            self._places.wait_for(lambda: not self._readers[1 - back])
        self._copies[1 - back] = make(self._copies[1 - back])


def _of_epoch(deltas: Sequence[Delta], epoch: int) -> list[Delta]:
    return [delta for delta in deltas if delta.epoch == epoch and delta.op != "superseded"]
