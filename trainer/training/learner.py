"""The learner: everything that training depends on, and one step of it.

It knows nothing of logs, clocks or Redis: batches go in, losses, deltas and snapshots come out. The online loop and the
offline harness drive the same learner. It draws random numbers from (seed, steps), so it has no generator state.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hsnn.streaming.schema.batch import Batch, LabelledImpressions
from hsnn.streaming.schema.events import Scalar
from hsnn.trainer.config.model import TrainerConfig
from hsnn.trainer.features.catalogue import ItemCatalogue, UserCatalogue, ids_of
from hsnn.trainer.features.covisitation import Covisitation
from hsnn.trainer.features.delayed_counters import LaggedStates
from hsnn.trainer.features.expiry import dies_at
from hsnn.trainer.features.half_life import HalfLifeChoice
from hsnn.trainer.features.hashing import token_matrix, tokens
from hsnn.trainer.features.item_counters import HALF_LIVES, ItemStates
from hsnn.trainer.features.item_prior import log_worth
from hsnn.trainer.features.queries import Queries
from hsnn.trainer.features.sampling_frequency import StreamingFrequency
from hsnn.trainer.features.user_history import UserHistories
from hsnn.trainer.messages import StateDelta
from hsnn.trainer.optim.batch import Judged
from hsnn.trainer.optim.network import Network
from hsnn.trainer.optim.step import Candidates
from hsnn.trainer.retrieval.inverted_lists import Leaves
from hsnn.trainer.rowstore.arrays import Array
from hsnn.trainer.rowstore.dirty_rows import DirtyRows
from hsnn.trainer.training.commands import Steering, obey
from hsnn.trainer.training.judgements import histories_at, pair_cross_features
from hsnn.trainer.training.maintenance import do_chores
from hsnn.trainer.training.prepared import Prepared, StepReport, joined
from hsnn.trainer.training.preprocess import apply_side_events, first_signs
from hsnn.trainer.training.replay_buffer import Lessons, Replay
from hsnn.trainer.training.row_recycling import Lodging
from hsnn.trainer.training.sampling import candidates_of, lessons_of
from hsnn.trainer.training.state_dict import put_state, state_of


class Learner:
    """Model, states and id tables, updated batch by batch.

    Attributes
    ----------
    items : ItemCatalogue
    users : UserCatalogue
    states : ItemStates
    histories : UserHistories
    covisitation : Covisitation
        Without rows where `trainer.model.cross` is off.
    lagged : LaggedStates
        What judged items looked like when they were shown; empty where there are no tasks.
    leaves : Leaves
        The trainer's own, always current assignment; what is served follows with the next version.
    events : int
        Interactions learned; `positives` of them were lessons of their own, the others repeats.
    steps : int
        Batches learned.
    watermark : int
        Epoch ms.
    origin : int
        Epoch ms that log masses are counted from.
    half_life : int
        Index of the half-life whose popularity is trusted now.
    idle_ms : int or None
        An item without engagement for so long is gone.
    lodging : Lodging or None
        Who has rows of the id tables, where `trainer.ids` limits them.
    steering : Steering
        What commands changed.
    """

    def __init__(self, config: TrainerConfig) -> None:
        self.config = config
        idle = config.expire_after_idle
        self.idle_ms = None if idle is None else int(idle * 1000)
        self.network = Network(config)
        self.items, self.users = ItemCatalogue(config.model), UserCatalogue(config.model)
        self.states, self.histories = ItemStates(), UserHistories(config.model.history)
        self.covisitation = Covisitation(rows=0)
        self.lagged = LaggedStates()
        self.frequency = StreamingFrequency(config.frequency_half_life)
        self.half_lives = HalfLifeChoice(known=config.index.early)
        self.leaves = Leaves(config.model.leaves)
        self.replay = Replay(config.model, config.replay_size if config.replay else 0)
        self.events = self.positives = self.steps = self.watermark = self.origin = self._last_batch = 0
        self.half_life = 0
        self.steering = Steering()
        self._touched_items, self._touched_users = DirtyRows(), DirtyRows()
        self.lodging = Lodging(self, config.ids) if config.ids.limited else None

    def prepare(self, batch: Batch) -> Prepared:
        """Turn ids into rows, apply item and user events and commands, extend histories."""
        if self.lodging is not None:
            self.lodging.begin(max(self.watermark, batch.watermark))
        side = apply_side_events(batch, self.items, self.users)
        events = batch.engagements
        rows, new = self.items.rows(events.item)
        signs = first_signs(events, rows, new) | side.items
        users = self.users.rows(events.user)
        judged = self._judged_rows(batch.labelled_impressions)
        if self.lodging is not None:
            signs = self.lodging.departures(batch.watermark) | signs
        self.reserve()
        self.watermark = max(self.watermark, batch.watermark)
        self.origin = self.origin or self.watermark
        for row, sign in signs.items():
            self.states.see([row], sign.ts)
            if self.config.model.tasks:
                self.lagged.see(row, sign.ts)
        self.forget_users(side.deleted_users)
        self._touched_items.add(list(signs))
        self._touched_users.add(side.users)
        obey(self, batch.control)
        held = rows >= 0
        kept = np.flatnonzero(~events.repeat & held)
        rows, users, ts = rows[kept], users[kept], events.ts[kept]
        contexts = [events.context[at] for at in kept.tolist()]
        actions = [events.action[at] for at in kept.tolist()]
        before = self.histories.extend(users, rows, ts)
        queries = Queries(*before, self.users.tokens_of(users), self.context(contexts), ts)
        weights = np.array([self.config.action_weights.get(action, 1.0) for action in actions], np.float32)
        strangers = {at: events.user[kept[at]] for at in np.flatnonzero(users < 0).tolist()}
        feed = [self.items.feed_item(row, sign) for row, sign in signs.items()]
        return Prepared(
            rows,
            users,
            ts,
            weights,
            queries,
            feed,
            contexts,
            batch.watermark,
            self._judged(batch.labelled_impressions, *judged),
            kept,
            int(np.count_nonzero(held)),
            int(np.count_nonzero(~held)),
            strangers,
        )

    def _judged_rows(self, judgements: LabelledImpressions) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Rows of items and users of judgements, none where there are no tasks."""
        if not self.config.model.tasks:
            return np.zeros(0, np.int64), np.zeros(0, np.int64)
        limited = self.lodging is not None  # an item that was refused when it was shown is not let in by this
        items = self.items.table.find(judgements.item) if limited else self.items.rows(judgements.item)[0]
        return items, self.users.rows(judgements.user)

    def _judged(
        self, judgements: LabelledImpressions, items: NDArray[np.int64], users: NDArray[np.int64]
    ) -> Judged | None:
        """Turn judgements into pairs; nothing where there are none."""
        if (items < 0).any():
            judgements, users, items = (
                judgements.select(np.flatnonzero(items >= 0)),
                users[items >= 0],
                items[items >= 0],
            )
        if not len(items):
            return None
        before = histories_at(self.histories, users, judgements.ts)
        queries = Queries(*before, self.users.tokens_of(users), self.context(judgements.context), judgements.ts)
        weights = [self.config.action_weights.get(task, 1.0) for task in self.config.model.tasks]
        self.lagged.advance(int(judgements.ts.min()))
        states = self.lagged.states.features(items, judgements.ts)
        cross = None
        if self.config.model.cross:
            cross = pair_cross_features(queries, self.items.tokens, items, self.covisitation)
        return Judged(queries, items, judgements.labels, np.array(weights, np.float32), states, cross)

    def context(self, contexts: Sequence[dict[str, Scalar] | None]) -> NDArray[np.int32]:
        """Context tokens (n, X) of n context mappings."""
        model = self.config.model
        distinct = {id(one): one for one in contexts}  # those of a data set are shared by many events
        known = {key: tokens(one, model.buckets, model.context_tokens) for key, one in distinct.items()}
        return token_matrix([known[id(one)] for one in contexts], model.context_tokens)

    def train(self, prepared: Prepared) -> StepReport:
        """Learn from a prepared batch, then count it; a part whose step is refused is left out.

        On a slow stream a batch is learned in several steps: there every event has more to teach.
        """
        if len(prepared.items) == 0:
            return self._judge_alone(prepared)._replace(rowless=prepared.rowless)
        parts = prepared.parts(self.config.slow_step if self.slow else len(prepared.items))
        return joined([self._learn(part) for part in parts])._replace(rowless=prepared.rowless)

    @property
    def turns(self) -> int:
        """How often rows of items were given to other items; see `hsnn.trainer.training.row_recycling`."""
        return 0 if self.lodging is None else self.lodging.turns

    @property
    def slow(self) -> bool:
        """Whether the stream changes slowly, by the half-life whose popularity predicts it best."""
        return HALF_LIVES[self.half_lives.best] >= 1000 * self.config.slow_from

    def _learn(self, prepared: Prepared) -> StepReport:
        """Take one gradient step, and count its events."""
        rng = np.random.default_rng([self.config.seed, self.steps])
        do_chores(self, rng)
        lessons = lessons_of(self, prepared, rng)
        candidates = candidates_of(self, prepared, lessons, rng)
        losses = self.network.step(
            lessons.queries,
            candidates,
            lessons.weights,
            self.leaves,
            self.events,
            prepared.judged,
            fresh=len(prepared.items),
        )
        self.steps += 1
        if losses.refused:
            self._last_batch = 0
            return StepReport(losses.item, losses.node, 0, unsafe=prepared.events, refused=losses.refused)
        if losses.leaves is not None:
            alive = self.alive(candidates.rows)  # not all that is learned again is
            self.leaves.move(candidates.rows[alive], losses.leaves[alive])
            self._more(lessons, candidates)
        self._count(prepared)
        return StepReport(losses.item, losses.node, prepared.events, 0, losses.chances, judged=True)

    def _judge_alone(self, prepared: Prepared) -> StepReport:
        """Account for a batch without lessons; what was judged with it is learned all the same."""
        nothing = StepReport(float("nan"), float("nan"), prepared.events, judged=True)
        if prepared.judged is None:
            return nothing
        refused, chances = self.network.judge_alone(prepared.judged, self.items.tokens, self.leaves)
        self.steps += 1
        if refused:
            return nothing._replace(events=0, unsafe=prepared.events, judged=False, refused=refused)
        return nothing._replace(chances=chances)

    def alive(self, rows: NDArray[np.integer]) -> NDArray[np.bool_]:
        """Which of `rows` (n,) may be recommended at the watermark."""
        last, expires_at, deleted = self.states.last[rows], self.items.expires_at[rows], self.items.deleted[rows]
        return dies_at(last, expires_at, deleted, self.idle_ms) > self.watermark

    def passed(self, every: int) -> bool:
        """Whether a multiple of `every` events was passed in the last step."""
        last = self.events - self._last_batch
        return self.events // every > last // every

    @property
    def touched(self) -> bool:
        """Whether any state changed since the last `delta`."""
        return bool(self._touched_items or self._touched_users)

    def delta(self, epoch: int = 0) -> StateDelta:
        """Absolute states of all rows touched since the last call."""
        rows, users = self._touched_items.drain(), self._touched_users.drain()
        named = self.users.named.drain()
        pairs, paired = self.covisitation, rows[: len(rows) if self.config.model.cross else 0]
        return StateDelta(
            epoch,
            self.events,
            self.watermark,
            self.half_life,
            rows.astype(np.int32),
            self.states.values[rows],
            self.states.last[rows],
            self.states.first[rows],
            users.astype(np.int32),
            self.histories.items[users],
            self.histories.times[users],
            self.users.tokens[users],
            named.astype(np.int32),
            ids_of(self.users, named),
            pairs.neighbours[paired],
            pairs.weights[paired],
            pairs.totals[paired],
            pairs.last[paired],
        )

    def forget_touched(self) -> None:
        """Take what changed so far for told: here nobody wants to hear of it."""
        self._touched_items.drain()
        self._touched_users.drain()
        self.users.named.drain()

    def state(self) -> tuple[dict[str, Array], dict[str, Any]]:
        """Copy everything that training depends on: arrays, and plain values."""
        return state_of(self)

    @classmethod
    def restore(cls, config: TrainerConfig, arrays: Mapping[str, Array], values: Mapping[str, Any]) -> Learner:
        """Go on as the learner that gave `state` would, to the last bit.

        Raises
        ------
        RuntimeError
            The arrays belong to a model of another shape.
        """
        learner = cls(config)
        put_state(learner, arrays, values)
        return learner

    def note_touched(self, items: NDArray[np.int64], users: NDArray[np.int64]) -> None:
        """Have the next `delta` tell of rows (n,) of items and (m,) of users."""
        self._touched_items.add(items)
        self._touched_users.add(users)

    def forget_users(self, rows: NDArray[np.int64]) -> None:
        """Leave nothing of users (n,): histories, features, and their part in what is learned again."""
        self.histories.clear(rows)
        self.users.forget(rows)
        self.replay.forget(rows)
        self._touched_users.add(rows)

    def reserve(self) -> None:
        """Make room in all parts for the items and users there are."""
        items = len(self.items)
        for part in (self.states, self.frequency, self.network.items, self.leaves):
            part.reserve(items)
        self.histories.reserve(len(self.users))
        if self.config.model.cross:
            self.covisitation.reserve(items)

    def _more(self, lessons: Lessons, candidates: Candidates) -> None:
        """Take the extra steps of the learned levels that are due."""
        index = self.config.index
        for every, test_time in ((index.test_time, True), (index.extra_steps, False)):
            if every and self.steps % every == 0:
                self.network.more(
                    lessons.queries, candidates, lessons.weights, self.leaves, self.events, test_time=test_time
                )

    def _count(self, prepared: Prepared) -> None:
        mass = float(prepared.weights.sum())
        self.half_lives.update(self.states, prepared.items, int(prepared.ts.max()), len(self.items), mass)
        self.states.touch(prepared.items, prepared.ts, prepared.weights)
        if self.config.model.tasks:
            self.lagged.put(prepared.items, prepared.ts, prepared.weights)
        self.frequency.update(prepared.items, self.positives)
        self.weigh(np.unique(prepared.items))
        self._touched_items.add(prepared.items)
        self._touched_users.add(prepared.users[prepared.users >= 0])
        if self.config.model.cross:
            before = prepared.queries.history_items, prepared.queries.history_times
            self._touched_items.add(self.covisitation.update(*before, prepared.items, prepared.ts))
        if self.config.replay:
            self.replay.put(Lessons(prepared.queries, prepared.items, prepared.weights), prepared.users)
        self.positives += len(prepared.items)
        self.events += prepared.events
        self._last_batch = prepared.events

    def weigh(self, rows: NDArray[np.int64]) -> None:
        """Say anew what unique `rows` (n,) are worth to those who order the items of a node."""
        worth = log_worth(
            self.states,
            rows,
            self.half_life,
            self.origin,
            lambda asked, features: self.network.expect(asked, self.items.tokens, features),
        )
        self.leaves.set_mass(rows, worth)
