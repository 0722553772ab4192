"""The contents of a mirror for one epoch of the trainer: index, items and users, and how messages change them."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy

import numpy as np
from numpy.typing import NDArray

from hsnn.indexer.store.delta import Delta
from hsnn.indexer.store.version import Version
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
from hsnn.trainer.features.mass_expiry import QuietEnds
from hsnn.trainer.messages import StateDelta
from hsnn.trainer.model.scorer import Scorer


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

    def __init__(self, version: Version, engine: bool = False, scorer: Scorer | None = None) -> None:
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
        self.index = self.build_index(version, scorer)
        self._alive_mask: AliveMask | None = None
        self._item_vectors: ItemVectors | None = None
        self._every_item: EveryItem | None = None
        self.refresh_expiry()

    def build_index(self, version: Version, scorer: Scorer | None = None) -> MirroredIndex:
        """Build the index of a version of this epoch with the traffic of the current states; the one in use stays.

        `scorer` is the version's, None to make it: several copies of a state share one.
        """
        scorer = scorer or scorer_of(version)
        nodes = version.index.nodes.copy()
        nodes[len(version.snapshot.item_ids) :] = -1  # no id is known yet; a delta will bring it
        index = MirroredIndex(
            version.manifest.version,
            scorer,
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

    def without_caches(self) -> EpochState:
        """Drop what readers have computed for themselves, compute what all of them need, and return this state."""
        self._item_vectors = self._every_item = None
        self.alive()
        return self

    def apply_deltas(self, deltas: Sequence[Delta], index: MirroredIndex) -> None:
        """Apply changes of items to `index` and to the items, in order; traffic and expiry are recomputed once."""
        rows = np.unique([delta.row for delta in deltas])
        self.states.reserve(int(rows[-1]) + 1)
        self.items.reserve(int(rows[-1]) + 1)
        placed = [delta for delta in deltas if delta.op != "delete"]
        self._set_activity_times(placed)
        self.items.set_items(
            [delta.row for delta in placed], [delta.item for delta in placed], [delta.features for delta in placed]
        )
        for delta in deltas:
            if delta.op == "delete":
                index.remove(delta.row)
                if delta.reason == "deleted":
                    self.items.delete(delta.row, self.watermark)
            else:
                self.items.set_end(delta.row, delta.expires_at)
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

    def swap_index(self, version: Version, deltas: Sequence[Delta], scorer: Scorer | None = None) -> None:
        """Switch to another version of this epoch, with its deltas so far; `scorer` is as in `build_index`."""
        features = self.items.changed_features(version.snapshot)
        index = self.build_index(version, scorer)
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
        if self._advance(self.quiet_ends, quiet_ms):
            self._refresh_ends(before, self.quiet_ends.now)

    def ends_are_due(self, quiet_ms: int) -> bool:
        """Whether `obey_ends` would let items leave."""
        return self._advance(copy(self.quiet_ends), quiet_ms)

    def _advance(self, ends: QuietEnds, quiet_ms: int) -> bool:
        return self.departed_to == self.watermark and ends.advance(
            self.watermark + quiet_ms,
            self.items.expires_at[: len(self.alive())],
            self.alive(),
            share=self._mass_expiry_share,
            confirmed=self._confirmed,
        )

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


def scorer_of(version: Version) -> Scorer:
    """Make the query side of a version's model."""
    return Scorer(ModelConfig.model_validate(version.snapshot.manifest.model), version.snapshot.model)
