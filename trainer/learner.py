"""The learner: everything that training depends on, and one step of it.

It knows nothing of logs, clocks or Redis: batches go in, losses, deltas and snapshots come out. The online loop and the
offline harness drive the same learner. It draws random numbers from (seed, events learned), so it has no generator state.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from streaming.columns import Batch, Engagements
from streaming.events import Scalar
from trainer.arrays import Array
from trainer.catalogue import ItemCatalogue, UserCatalogue, apply_side_events
from trainer.config import TrainerConfig
from trainer.frequency import StreamingFrequency
from trainer.half_life import HalfLifeChoice
from trainer.hashing import token_matrix, tokens
from trainer.history import UserHistories
from trainer.item_state import ItemStates
from trainer.leaves import Leaves
from trainer.lifetime import dies_at
from trainer.network import Candidates, Network
from trainer.queries import Queries
from trainer.wire import FeedItem, Snapshot, SnapshotManifest, StateDelta

_CHORES_EVERY = 64
_COUNTERS = ("events", "steps", "watermark", "origin", "half_life")


class StepReport(NamedTuple):
    """Losses of one batch, before it was learned, in nats; NaN for an empty batch."""

    loss: float
    node_loss: float
    events: int


@dataclass(frozen=True, slots=True)
class Prepared:
    """A batch as rows, with each event's history just before it.

    Attributes
    ----------
    items, users, ts : (n,) int64
    weights : (n,) float32
    queries : Queries
        What a server would be asked just before each event.
    feed : list of FeedItem
        New, changed and deleted items.
    contexts : n mappings or None
        As they came, for asking a server.
    watermark : int
    """

    items: NDArray[np.int64]
    users: NDArray[np.int64]
    ts: NDArray[np.int64]
    weights: NDArray[np.float32]
    queries: Queries
    feed: list[FeedItem]
    contexts: Sequence[dict[str, Scalar] | None]
    watermark: int


class Learner:
    """Model, states and id tables, updated batch by batch.

    Attributes
    ----------
    items : ItemCatalogue
    users : UserCatalogue
    states : ItemStates
    histories : UserHistories
    leaves : Leaves
        The trainer's own, always current assignment; what is served follows with the next version.
    events : int
        Interactions learned.
    watermark : int
        Epoch ms.
    """

    def __init__(self, config: TrainerConfig) -> None:
        self.config = config
        idle = config.expire_after_idle
        self._idle_ms = None if idle is None else int(idle * 1000)
        self.network = Network(config)
        self.items, self.users = ItemCatalogue(config.model), UserCatalogue(config.model)
        self.states, self.histories = ItemStates(), UserHistories(config.model.history)
        self.frequency = StreamingFrequency(config.frequency_half_life)
        self.half_lives = HalfLifeChoice()
        self.leaves = Leaves(config.model.nodes)
        self.events = self.steps = self.watermark = self.origin = 0
        self.half_life = 0
        self._touched_items: list[NDArray[np.int64]] = []
        self._touched_users: list[NDArray[np.int64]] = []
        self._sent_users = 0

    def prepare(self, batch: Batch) -> Prepared:
        """Turn ids into rows, apply item and user events, extend histories."""
        touched = apply_side_events(batch, self.items, self.users)
        events = batch.engagements
        rows, new = self.items.rows(events.item)
        touched = _first_seen(events, rows, new) | touched
        users = self.users.rows(events.user)
        self._reserve()
        self.watermark = max(self.watermark, batch.watermark)
        self.origin = self.origin or self.watermark
        for row, (ts, _) in touched.items():
            self.states.see([row], ts)
        if touched:
            self._touched_items.append(np.array(list(touched), np.int64))
        before = self.histories.extend(users, rows, events.ts)
        queries = Queries(*before, self.users.tokens[users], self.context(events.context), events.ts)
        weights = np.array([self.config.action_weights.get(action, 1.0) for action in events.action], np.float32)
        feed = [self.items.feed_item(row, ts, sent_at) for row, (ts, sent_at) in touched.items()]
        return Prepared(rows, users, events.ts, weights, queries, feed, events.context, batch.watermark)

    def context(self, contexts: Sequence[dict[str, Scalar] | None]) -> NDArray[np.int32]:
        """Context tokens (n, X) of n context mappings."""
        model = self.config.model
        return token_matrix(
            [tokens(one, model.buckets, model.context_tokens) for one in contexts], model.context_tokens
        )

    def train(self, prepared: Prepared) -> StepReport:
        """Learn from a prepared batch, then count it."""
        if len(prepared.items) == 0:
            return StepReport(float("nan"), float("nan"), 0)
        rng = np.random.default_rng([self.config.seed, self.steps])
        self._chores(rng)
        candidates, uniform = self._candidates(prepared, rng)
        losses = self.network.step(
            prepared.queries, candidates, prepared.weights, uniform, self.leaves.node_log_share()
        )
        if losses.nodes is not None:
            self._reassign(candidates.rows, losses.nodes)
        self._count(prepared)
        return StepReport(losses.item, losses.node, len(prepared.items))

    def alive(self, rows: NDArray[np.integer]) -> NDArray[np.bool_]:
        """Which of `rows` (n,) may be recommended at the watermark."""
        last, expires_at, deleted = self.states.last[rows], self.items.expires_at[rows], self.items.deleted[rows]
        return dies_at(last, expires_at, deleted, self._idle_ms) > self.watermark

    @property
    def touched(self) -> bool:
        """Whether any state changed since the last `delta`."""
        return bool(self._touched_items or self._touched_users)

    def delta(self, epoch: int = 0) -> StateDelta:
        """Absolute states of all rows touched since the last call."""
        rows, users = _drain(self._touched_items), _drain(self._touched_users)
        first = self._sent_users
        self._sent_users = len(self.users.table)
        return StateDelta(
            epoch, self.events, self.watermark, self.half_life,
            rows.astype(np.int32), self.states.values[rows], self.states.last[rows], self.states.first[rows],
            users.astype(np.int32), self.histories.items[users], self.histories.times[users], self.users.tokens[users],
            first, self.users.table.ids[first:],
        )  # fmt: skip

    def snapshot(self, number: int, epoch: int, checkpoint: str, state_id: str, feed_id: str, digest: str) -> Snapshot:
        """Copy of the model and of all states, as readers need them."""
        n, m = len(self.items), len(self.users.table)
        manifest = SnapshotManifest(
            snapshot=number, epoch=epoch, checkpoint=checkpoint, events=self.events, watermark=self.watermark,
            state_id=state_id, feed_id=feed_id, half_life=self.half_life, model=self.config.model.model_dump(mode="json"),
            config_digest=digest, expire_after_idle_ms=self._idle_ms,
        )  # fmt: skip
        items: dict[str, Array] = {
            "embeddings": self.network.items.weight[:n], "tokens": self.items.tokens[:n], "values": self.states.values[:n],
            "last": self.states.last[:n], "first": self.states.first[:n],
            "expires_at": self.items.expires_at[:n], "deleted": self.items.deleted[:n],
        }  # fmt: skip
        users: dict[str, Array] = {
            "items": self.histories.items[:m], "times": self.histories.times[:m], "tokens": self.users.tokens[:m]
        }  # fmt: skip
        copied = [{name: array.copy() for name, array in group.items()} for group in (items, users)]
        return Snapshot(
            manifest,
            self.network.weights(),
            *copied,
            list(self.items.table.ids),
            list(self.users.table.ids),
            list(self.items.features),
        )

    def state(self) -> tuple[dict[str, Array], dict[str, Any]]:
        """Copies of everything that training depends on: arrays, and plain values."""
        n, m = len(self.items), len(self.users.table)
        parts: dict[str, Array] = {f"network.{name}": array for name, array in self.network.state().items()}
        by_item: dict[str, Array] = {
            "states.values": self.states.values, "states.last": self.states.last, "states.first": self.states.first,
            "frequency.counts": self.frequency.counts, "frequency.seen": self.frequency.seen,
            "items.tokens": self.items.tokens, "items.expires_at": self.items.expires_at, "items.deleted": self.items.deleted,
            "leaves.node_of": self.leaves.node_of,
        }  # fmt: skip
        by_user: dict[str, Array] = {
            "histories.items": self.histories.items, "histories.times": self.histories.times, "users.tokens": self.users.tokens
        }  # fmt: skip
        parts |= {name: array[:n] for name, array in by_item.items()} | {
            name: array[:m] for name, array in by_user.items()
        }
        parts |= {"half_lives.loss": self.half_lives.loss, "half_lives.totals": self.half_lives.totals}
        values = {name: getattr(self, name) for name in _COUNTERS} | {
            "half_lives_time": self.half_lives.time,
            "item_ids": list(self.items.table.ids), "user_ids": list(self.users.table.ids), "features": list(self.items.features),
        }  # fmt: skip
        return {name: np.array(array) for name, array in parts.items()}, values

    @classmethod
    def restore(cls, config: TrainerConfig, arrays: Mapping[str, Array], values: Mapping[str, Any]) -> Learner:
        """Go on as the learner that gave `state` would.

        Raises
        ------
        RuntimeError
            The arrays belong to a model of another shape.
        """
        learner = cls(config)
        learner.items.rows(values["item_ids"])
        learner.users.rows(values["user_ids"])
        learner.items.features = list(values["features"])
        learner.network.restore({k.removeprefix("network."): v for k, v in arrays.items() if k.startswith("network.")})
        for name, array in arrays.items():
            part, _, attribute = name.partition(".")
            if part in ("states", "frequency", "items", "histories", "users", "half_lives"):
                setattr(getattr(learner, part), attribute, array.copy())
        for name in _COUNTERS:
            setattr(learner, name, values[name])
        learner.half_lives.time = values["half_lives_time"]
        learner._reserve()
        learner.leaves.assign_all(arrays["leaves.node_of"])
        every = np.arange(len(learner.items))
        learner.leaves.set_mass(every, learner.states.log_mass(every, learner.half_life, learner.origin))
        learner._sent_users = len(learner.users.table)
        return learner

    def _reserve(self) -> None:
        items = len(self.items)
        for part in (self.states, self.frequency, self.network.items, self.leaves):
            part.reserve(items)
        self.histories.reserve(len(self.users.table))

    def _candidates(self, prepared: Prepared, rng: np.random.Generator) -> tuple[Candidates, NDArray[np.int64]]:
        """Distinct in-batch items and uniform draws out of the living ones, and where the latter are."""
        items = len(self.items)
        drawn = np.unique(rng.integers(items, size=self.config.uniform_negatives))
        dead = ~self.alive(drawn)
        for row in drawn[dead]:
            self.leaves.remove(int(row))
        drawn = drawn[~dead]
        rows = np.union1d(prepared.items, drawn)
        log_q = self.frequency.log_q(rows, self.events, len(prepared.items), self.config.uniform_negatives, items)
        features = self.states.features(rows, int(prepared.ts.max()))
        targets = np.searchsorted(rows, prepared.items)
        return Candidates(rows, self.items.tokens, features, log_q, targets), np.searchsorted(rows, drawn)

    def _reassign(self, rows: NDArray[np.int64], nodes: NDArray[np.int64]) -> None:
        moved = self.leaves.node_of[rows] != nodes
        for row, node in zip(rows[moved].tolist(), nodes[moved].tolist(), strict=True):
            self.leaves.put(row, node)

    def _count(self, prepared: Prepared) -> None:
        mass = float(prepared.weights.sum())
        self.half_lives.update(self.states, prepared.items, int(prepared.ts.max()), len(self.items), mass)
        self.states.touch(prepared.items, prepared.ts, prepared.weights)
        self.frequency.update(prepared.items, self.events)
        rows = np.unique(prepared.items)
        self.leaves.set_mass(rows, self.states.log_mass(rows, self.half_life, self.origin))
        self._touched_items.append(rows)
        self._touched_users.append(np.unique(prepared.users))
        self.events += len(prepared.items)
        self.steps += 1

    def _chores(self, rng: np.random.Generator) -> None:
        """Seed the nodes once, revive dead ones, follow the best half-life."""
        living = np.flatnonzero(self.alive(np.arange(len(self.items)))) if self.steps % _CHORES_EVERY == 0 else None
        if not self.network.seeded and self.events >= self.config.node_warmup:
            living = np.flatnonzero(self.alive(np.arange(len(self.items))))
            self.network.seed(living, self.items.tokens, rng)
        elif self.network.seeded and living is not None and len(living):
            sample = living if len(living) <= 4096 else rng.choice(living, 4096, replace=False)
            self.network.revive_nodes(sample, self.items.tokens, rng)
        if living is not None and self.half_lives.best != self.half_life:
            self.half_life = self.half_lives.best
            every = np.arange(len(self.items))
            self.leaves.set_mass(every, self.states.log_mass(every, self.half_life, self.origin))


def _first_seen(events: Engagements, rows: NDArray[np.int64], new: NDArray[np.int64]) -> dict[int, tuple[int, int]]:
    """Time and sending time of the first event of each new row."""
    if len(new) == 0:
        return {}
    index = np.flatnonzero(rows >= new[0])
    unique, first = np.unique(rows[index], return_index=True)
    at = index[first]
    return {
        int(row): (int(ts), int(sent)) for row, ts, sent in zip(unique, events.ts[at], events.sent_at[at], strict=True)
    }


def _drain(touched: list[NDArray[np.int64]]) -> NDArray[np.int64]:
    rows = np.unique(np.concatenate([*touched, np.zeros(0, np.int64)]))
    touched.clear()
    return rows
