"""The state of a learner: its parts, and the tables that they register.

A table by item or user row registers itself once, in `LearnerState`. Growth, recycling of rows, checkpoints (whole and
incremental), snapshots and state deltas follow from the registration.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from hsnn.trainer.config.model import TrainerConfig
from hsnn.trainer.features.catalogue import ItemTable, UserTable
from hsnn.trainer.features.covisitation import Covisitation
from hsnn.trainer.features.delayed_counters import DelayedCounters
from hsnn.trainer.features.expiry import expiry_times
from hsnn.trainer.features.extra_tables import EngagementTable, extra_tables
from hsnn.trainer.features.feedback.event_weights import Feedback
from hsnn.trainer.features.feedback.repeat_counts import PLACES
from hsnn.trainer.features.half_life import HalfLifeSelector
from hsnn.trainer.features.item_counters import HALF_LIVES, ItemCounters
from hsnn.trainer.features.item_prior import log_item_prior
from hsnn.trainer.features.mass_expiry import DepartureClock
from hsnn.trainer.features.sampling_frequency import StreamingFrequency
from hsnn.trainer.features.user_history import UserHistories
from hsnn.trainer.features.user_memory import UserMemory
from hsnn.trainer.messages import ExclusionRule
from hsnn.trainer.optim.network import Network
from hsnn.trainer.retrieval.index_recall import RunningRecall
from hsnn.trainer.retrieval.inverted_lists import InvertedLists
from hsnn.trainer.rowstore.byte_strings import ByteStrings
from hsnn.trainer.rowstore.dirty_rows import DirtyRows
from hsnn.trainer.rowstore.id_table import IdTable
from hsnn.trainer.rowstore.row_table import Columns, RowTable
from hsnn.trainer.rowstore.table import Table, TableKind, TextReader
from hsnn.trainer.training.item_passes import ItemPasses
from hsnn.trainer.training.replay_buffer import ReplayBuffer
from hsnn.trainer.training.row_recycling import RowRecycler

_encode = msgspec.msgpack.Encoder().encode


@dataclass(slots=True)
class CommandedState:
    """What commands of the control topic have set so far.

    Attributes
    ----------
    generation : int
        Rebalances carried out.
    dense_rate, embedding_rate : float or None
        Learning rates as commanded; None: as configured.
    boost, boost_until : float, int
        Factor of these until the watermark is `boost_until`, epoch ms.
    """

    generation: int = 0
    dense_rate: float | None = None
    embedding_rate: float | None = None
    boost: float = 1.0
    boost_until: int = 0

    def to_dict(self) -> dict[str, Any]:
        """Plain values for the checkpoint."""
        return asdict(self)


class LearnerState:
    """Everything that training depends on; it draws random numbers from (seed, steps), so it has no generator.

    Attributes
    ----------
    items : ItemTable
    users : UserTable
    states : ItemCounters
        Engagement counters of items.
    histories : UserHistories
    memory : UserMemory
        Past items of each user, as far as they were learned.
    exclusion : ExclusionRule
        Which of these are left out.
    covisitation : Covisitation
        Without rows where `trainer.model.cross` is off.
    delayed_counters : DelayedCounters
        Counters of items as they were when these were shown; empty where there are no tasks.
    frequency : StreamingFrequency
    half_lives : HalfLifeSelector
    feedback : Feedback
        What actions, values and repeats say.
    leaves : InvertedLists
        The trainer's own, always current assignment; the one that is served follows with the next version.
    replay : ReplayBuffer
    extra : name -> (EngagementTable, TableKind)
        Registered in `hsnn.trainer.features.extra_tables`.
    events : int
        Interactions learned; `positives` of them were examples of their own, the others repeats.
    steps : int
        Batches learned.
    watermark : int
        Epoch ms.
    origin : int
        Epoch ms that log masses are counted from.
    half_life : int
        Index of the half-life whose popularity is trusted now.
    passes : ItemPasses
        Passes over all items that are under way.
    last_batch : int
        Interactions learned in the last step.
    idle_ms : int or None
        An item without engagement for so long expires.
    recycler : RowRecycler or None
        Gives rows to ids and takes them back, where `trainer.ids` limits them.
    index_recall : RunningRecall
    commanded : CommandedState
    departures : DepartureClock
        The time by which items have left.
    dirty_items, dirty_users : DirtyRows
        Rows that changed since the last state delta.
    announced_departures : (int, int)
        What the last state delta said of them: their time, and up to where they are confirmed.
    tables : list of Table
        All of the tables, in the order in which checkpoints have them.
    """

    def __init__(self, config: TrainerConfig) -> None:
        self.config = config
        idle = config.expire_after_idle
        self.idle_ms = None if idle is None else int(idle * 1000)
        self.network = Network(config)
        self.items, self.users = ItemTable(config.model, config.catalogue.authority), UserTable(config.model)
        self.states, self.histories = ItemCounters(), UserHistories(config.model.history)
        self.memory = UserMemory(config.memory.items, config.memory.keep_ms)
        exclude = config.exclude
        self.exclusion = ExclusionRule(
            exclude.rule, items=exclude.items, time_ms=int(exclude.time * 1000), keep_ms=config.memory.keep_ms
        )
        self.covisitation = Covisitation(rows=0)
        self.delayed_counters = DelayedCounters()
        self.frequency = StreamingFrequency(config.frequency_half_life)
        self.half_lives = HalfLifeSelector(known=config.index.early)
        self.feedback = Feedback(config)
        self.leaves = InvertedLists(config.model.leaves)
        self.replay = ReplayBuffer(config.model, config.replay_size if config.replay else 0)
        self.extra: dict[str, tuple[EngagementTable, TableKind]] = {}
        self.events = self.positives = self.steps = self.watermark = self.origin = self.last_batch = 0
        self.half_life = self.half_lives.best
        self.passes = ItemPasses()
        self.index_recall = RunningRecall()
        self.commanded = CommandedState()
        catalogue = config.catalogue
        self.departures = DepartureClock(catalogue.mass_expiry_share, int(catalogue.mass_expiry_hold * 1000))
        self.dirty_items, self.dirty_users = DirtyRows(), DirtyRows()
        self.announced_departures = 0, 0
        self.recycler: RowRecycler | None = None
        self.tables: list[Table] = []
        self._register_tables()
        if config.ids.limited:
            self.add_recycler()

    def _register_tables(self) -> None:
        """Register the parts that have a row per item, user, hashed feature or past event."""
        model, network = self.config.model, self.network
        counters = {"values": "values", "last": "last", "first": "first"}
        described = {name: name for name in ("tokens", "expires_at", "available_from", "deleted")}
        self._register("item_counters", self.states, TableKind.ITEM, served=counters, in_delta=True)
        self._register("frequency", self.frequency, TableKind.ITEM)
        self.tables += [
            Table(
                "items",
                TableKind.ITEM,
                partial(len, self.items),
                self.items.barrier,
                data=self.items,
                texts={"items.features": partial(_encoded_features, self.items)},
                managed=self.items,
                served=described,  # in no delta: they are in the item feed
            ),
            _id_table("items.ids", TableKind.ITEM, self.items.table),
            _id_table("users.ids", TableKind.USER, self.users.table),
        ]
        if model.counts_pairs:
            lists = {"neighbours": "neighbours", "weights": "weights", "totals": "totals", "last": "paired"}
            self._register("covisitation", self.covisitation, TableKind.ITEM, served=lists, in_delta=True)
        else:
            self._register_columns("covisitation", self.covisitation, TableKind.ITEM, lambda: 0)
        self._register("inverted_lists", self.leaves, TableKind.ITEM)
        self._register("network.items", network.items.ids, TableKind.ITEM, served={"weight": "embeddings"})
        self._register_columns("network.content", network.items.content, TableKind.FEATURE, lambda: model.buckets)
        self._register_columns(
            "network.features", network.features, TableKind.FEATURE, partial(len, network.features.weight)
        )
        served_history = {"items": "items", "times": "times"}
        self._register("histories", self.histories, TableKind.USER, served=served_history, in_delta=True)
        remembered = {"entries:bytes": "memory", "entries:lengths": "memory_lengths"}
        self._register(
            "memory",
            self.memory,
            TableKind.USER,
            served=remembered,
            in_delta=True,
            texts={"memory.entries": self.memory.select},
        )
        self._register("users", self.users, TableKind.USER, served={"tokens": "tokens"}, in_delta=True)
        self._register_columns("replay", self.replay, TableKind.EVENT, partial(len, self.replay))
        self._register_columns("repeats", self.feedback.repeats, TableKind.EVENT, lambda: PLACES, optional=True)
        if model.tasks:
            self._register("delayed_counters", self.delayed_counters.states, TableKind.ITEM)
        for name, extra in extra_tables().items():
            table = extra.make()
            self.extra[name] = table, extra.kind
            served = {column: f"{name}.{column}" for column in table.columns()} if extra.served else {}
            self._register(name, table, extra.kind, served=served, in_delta=extra.served, optional=True)

    def _register(
        self,
        name: str,
        table: RowTable,
        kind: TableKind,
        *,
        served: Mapping[str, str] | None = None,
        in_delta: bool = False,
        optional: bool = False,
        texts: Mapping[str, TextReader] | None = None,
    ) -> None:
        """Register a table that the learner grows, and whose rows it resets when they are recycled."""
        self.tables.append(
            Table(
                name,
                kind,
                partial(len, self.items if kind == TableKind.ITEM else self.users),
                table.barrier,
                data=table,
                managed=table,
                served=served or {},
                in_delta=in_delta,
                optional=optional,
                texts=texts or {},
            )
        )

    def _register_columns(
        self, name: str, columns: Columns, kind: TableKind, size: Callable[[], int], *, optional: bool = False
    ) -> None:
        """Register a table that manages its rows itself; `size` returns how many are in use."""
        self.tables.append(Table(name, kind, size, columns.barrier, data=columns, optional=optional))

    def add_recycler(self) -> None:
        """Limit the id tables from now on."""
        self.recycler = recycler = RowRecycler(
            self.items,
            self.users,
            self.config.ids,
            alive=self.alive,
            retire_items=self._retire_items,
            recycle_items=self._recycle_items,
            forget_users=self.forget_users,
        )
        for name, kind, admission in (
            ("row_recycling.items", TableKind.ITEM, recycler.items),
            ("row_recycling.users", TableKind.USER, recycler.users),
        ):
            size = partial(len, admission.table)
            # A checkpoint of unlimited tables lacks it: `RowRecycler.adopt` sets it then.
            self.tables.append(Table(name, kind, size, admission.barrier, data=admission, optional=True))

    def reserve(self) -> None:
        """Make room in all tables for the items and users there are."""
        rows = {TableKind.ITEM: len(self.items), TableKind.USER: len(self.users)}
        for table in self.tables:
            if table.managed is not None:
                table.managed.reserve(rows[table.kind])

    def forget_users(self, rows: NDArray[np.int64]) -> None:
        """Remove all traces of users (n,): their rows of all tables, and their examples in the replay buffer."""
        self._clear(TableKind.USER, rows)
        self.replay.forget_users(rows)
        self.feedback.repeats.forget_users(rows)
        self.dirty_users.add(rows)

    def _retire_items(self, rows: NDArray[np.int64]) -> None:
        """Delete items (n,) that gave up their rows; the rows are cleared when they are recycled."""
        self.items.delete(rows)
        self.leaves.remove_rows(rows)

    def _recycle_items(self, rows: NDArray[np.int64]) -> None:
        """Reset `rows` (n,) of items that left: in these rows, and wherever other rows name them."""
        gone = np.zeros(len(self.items) + 1, np.bool_)  # the last one stands for row -1
        gone[rows] = True
        self._clear(TableKind.ITEM, rows)
        changed = np.union1d(self.histories.remove_items(gone), self.memory.remove_items(gone))
        self.replay.forget_items(gone)
        self.feedback.repeats.remove_items(gone)
        self.delayed_counters.remove_items(gone)
        near = self.covisitation.remove_items(gone) if self.config.model.counts_pairs else rows
        self.dirty_items.add(np.r_[rows, near])
        self.dirty_users.add(changed)

    def _clear(self, kind: TableKind, rows: NDArray[np.int64]) -> None:
        for table in self.tables:
            if table.managed is not None and table.kind == kind:
                table.managed.clear(rows)

    @property
    def recycled(self) -> int:
        """How often rows of items were given to other items; see `hsnn.trainer.training.row_recycling`."""
        return 0 if self.recycler is None else self.recycler.recycled

    def update_popularity(self) -> None:
        """Let the item counters follow the half-life in use and its engagements."""
        self.states.set_popularity(self.half_life, float(self.half_lives.totals[self.half_life]), self.half_lives.time)

    @property
    def slow(self) -> bool:
        """Whether the stream changes slowly, by the half-life whose popularity predicts it best."""
        return HALF_LIVES[self.half_lives.best] >= 1000 * self.config.slow_from

    def alive(self, rows: NDArray[np.integer] | slice) -> NDArray[np.bool_]:
        """Return which of `rows` (n,) may be recommended now."""
        return (self.ends(rows) > self.departures.now) & (self.items.available_from[rows] <= self.watermark)

    def ends(self, rows: NDArray[np.integer] | slice) -> NDArray[np.int64]:
        """Compute the expiry times of `rows` (n,)."""
        last, expires_at, deleted = self.states.last[rows], self.items.expires_at[rows], self.items.deleted[rows]
        return expiry_times(last, expires_at, deleted, self.idle_ms)

    def let_items_leave(self) -> None:
        """Let the time of departures follow the watermark."""
        self.departures.advance(self.watermark, len(self.items), self.ends)

    def passed(self, every: int) -> bool:
        """Return whether a multiple of `every` events was passed in the last step."""
        before = self.events - self.last_batch
        return self.events // every > before // every

    def update_item_prior(self, rows: NDArray[np.int64]) -> None:
        """Recompute the prior of unique `rows` (n,), which orders the items of a node."""
        self.leaves.set_log_mass(rows, self.item_prior(rows, self.half_life))
        if self.passes.half_life is not None:
            weighed = rows[rows < self.passes.weighed]
            self.passes.log_mass[weighed] = self.item_prior(weighed, self.passes.half_life)

    def item_prior(self, rows: NDArray[np.int64], half_life: int) -> NDArray[np.float64]:
        """Compute the log prior (n,) of unique `rows` (n,) at a half-life."""
        return log_item_prior(
            self.states,
            rows,
            half_life=half_life,
            origin=self.origin,
            expect=lambda asked, features: self.network.mean_user_scores(asked, self.items.tokens, features),
        )


def _id_table(name: str, kind: TableKind, table: IdTable) -> Table:
    def texts(rows: NDArray[np.integer]) -> ByteStrings:
        encoded = table.ids.encoded(rows)
        return ByteStrings(encoded.blob, encoded.lengths.astype(np.int32))

    return Table(name, kind, partial(len, table), table.barrier, texts={f"{name}.texts": texts})


def _encoded_features(items: ItemTable, rows: NDArray[np.integer]) -> ByteStrings:
    features = items.features
    return ByteStrings.from_list([_encode(features[row]) for row in rows.tolist()])
