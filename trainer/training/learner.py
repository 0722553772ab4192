"""The learner: its state, and one training step.

It knows nothing of logs, clocks or Redis: batches go in, losses, deltas and snapshots come out. The online loop and the
offline harness drive the same learner.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hsnn.streaming.schema.batch import Batch
from hsnn.trainer.config.model import TrainerConfig
from hsnn.trainer.features.catalogue import ids_of
from hsnn.trainer.messages import StateDelta
from hsnn.trainer.optim.step import StepCandidates
from hsnn.trainer.rowstore.arrays import Array
from hsnn.trainer.rowstore.table import TableKind
from hsnn.trainer.training.maintenance import run_maintenance
from hsnn.trainer.training.prepared import PreparedBatch, StepReport, merge_reports
from hsnn.trainer.training.preprocess import prepare_batch
from hsnn.trainer.training.replay_buffer import Examples
from hsnn.trainer.training.sampling import sample_candidates, sample_examples
from hsnn.trainer.training.state import LearnerState
from hsnn.trainer.training.state_dict import load_state_dict, state_dict

# Steps between two measurements of the index: each costs a beam search per probe.
_PROBE_EVERY = 4


class Learner(LearnerState):
    """A model and its state, updated batch by batch; see `LearnerState` for its parts."""

    def prepare(self, batch: Batch) -> PreparedBatch:
        """Turn ids into rows, apply item and user events and commands, extend histories."""
        return prepare_batch(self, batch)

    def train(self, prepared: PreparedBatch) -> StepReport:
        """Learn from a prepared batch, then count it; a part whose step is refused is left out.

        On a slow stream a batch is learned in several steps: there every event has more to teach.
        """
        if len(prepared.items) == 0 and prepared.dislikes is None:
            return self._judge_alone(prepared)._replace(rowless=prepared.rowless)
        parts = prepared.parts(self.config.slow_step if self.slow else max(len(prepared.items), 1))
        return merge_reports([self._learn(part) for part in parts])._replace(rowless=prepared.rowless)

    def _learn(self, prepared: PreparedBatch) -> StepReport:
        """Take one gradient step, and count its events."""
        rng = np.random.default_rng([self.config.seed, self.steps])
        run_maintenance(self, rng)
        examples = sample_examples(self, prepared, rng)
        candidates = sample_candidates(self, prepared, examples, rng)
        losses = self.network.step(
            examples.queries,
            candidates,
            weights=examples.weights,
            leaves=self.leaves,
            events=self.events,
            judged=prepared.judged,
            fresh=len(prepared.items),
            least_weight=prepared.least_weight,
            probed=(self.steps + 1) % _PROBE_EVERY == 0,
        )
        self.steps += 1
        if losses.refused:
            self.last_batch = 0
            return StepReport(losses.item, losses.node, 0, unsafe=prepared.events, refused=losses.refused)
        sources = None
        if losses.probes is not None and len(losses.probes):
            sources = candidates.target_sources()[: len(prepared.items)]
            self._probe_index(prepared, losses.probes, sources)
        assigned = moved = 0
        if losses.leaves is not None:
            alive = self.alive(candidates.rows)  # not all that is learned again is
            rows, nodes = candidates.rows[alive], losses.leaves[alive]
            before = self.leaves.node_of[rows]
            assigned, moved = int((before >= 0).sum()), int(((before >= 0) & (before != nodes)).sum())
            self.leaves.assign_rows(rows, nodes)
            self._extra_steps(examples, candidates)
        half_life = self.half_lives.best
        self._count(prepared)
        item = node = popularity = float("nan")
        if len(prepared.items):
            item, node, popularity = losses.item, losses.node, float(self.half_lives.last_loss[half_life])
        return StepReport(
            item,
            node,
            prepared.events,
            probabilities=losses.probabilities,
            judged=True,
            ranks=None if losses.ranks is None else losses.ranks[: len(prepared.items)],
            sources=sources,
            assigned=assigned,
            moved=moved,
            popularity_loss=popularity,
        )

    def _probe_index(self, prepared: PreparedBatch, probes: NDArray[np.float32], sources: NDArray[np.uint8]) -> None:
        """Measure the sources on the first events of a batch: those whose item ranks within the budget, as it seems."""
        model, count = self.config.model, min(len(probes), len(prepared.items))
        ranks = probes[:count, -1] * len(self.leaves)  # of the candidates, who are a sample of all items
        indexed = self.leaves.node_of[prepared.items[:count]] >= 0
        liked = np.flatnonzero((ranks < model.budget) & indexed)
        self.index_recall.update(
            self.leaves,
            probes[liked, :-1],
            prepared.items[liked],
            sources[liked] > 0,
            beam=model.beam,
            budget=model.budget,
        )

    def _judge_alone(self, prepared: PreparedBatch) -> StepReport:
        """Account for a batch without examples; the impressions that come with it are learned all the same."""
        nothing = StepReport(float("nan"), float("nan"), prepared.events, judged=True)
        if prepared.judged is None:
            return nothing
        refused, probabilities = self.network.step_labelled(prepared.judged, self.items.tokens, self.leaves)
        self.steps += 1
        if refused:
            return nothing._replace(events=0, unsafe=prepared.events, judged=False, refused=refused)
        return nothing._replace(probabilities=probabilities)

    def _extra_steps(self, examples: Examples, candidates: StepCandidates) -> None:
        """Take the extra steps of the learned levels that are due."""
        index = self.config.index
        for every, test_time in ((index.test_time, True), (index.extra_steps, False)):
            if every and self.steps % every == 0:
                self.network.extra_step(
                    examples.queries,
                    candidates,
                    weights=examples.weights,
                    leaves=self.leaves,
                    events=self.events,
                    test_time=test_time,
                )

    def _count(self, prepared: PreparedBatch) -> None:
        """Count the events of a step that was made, after it: features must not know of their own event.

        Dislikes are not counted: the counters say how much an item is liked.
        """
        self.events += prepared.events
        self.last_batch = prepared.events
        self._remember(prepared)
        if not len(prepared.items):
            return
        now, counted = int(prepared.ts.max()), prepared.counted
        self.half_lives.update(self.states, prepared.items, counted, now=now, items=len(self.items))
        self.update_popularity()
        self.states.add_engagements(prepared.items, prepared.ts, counted)
        if self.config.model.tasks:
            self.delayed_counters.enqueue(prepared.items, prepared.ts, counted)
        self.frequency.update(prepared.items, self.positives)
        self.update_item_prior(np.unique(prepared.items))
        has_row = prepared.users >= 0
        self.dirty_items.add(prepared.items)
        self.dirty_users.add(prepared.users[has_row])
        if self.config.model.counts_pairs:
            before = prepared.queries.history_items, prepared.queries.history_times
            self.dirty_items.add(self.covisitation.update(*before, prepared.items, prepared.ts, weights=counted))
        for table, kind in self.extra.values():
            if kind == TableKind.ITEM:
                table.update(prepared.items, prepared.ts, counted)
            else:
                table.update(prepared.users[has_row], prepared.ts[has_row], counted[has_row])
        if self.config.replay:
            self.replay.append(Examples(prepared.queries, prepared.items, prepared.example_weights), prepared.users)
        self.positives += len(prepared.items)

    def _remember(self, prepared: PreparedBatch) -> None:
        """Extend the memory of the users' items, by event time; a dislike marks its item."""
        users, items, ts, actions = prepared.users, prepared.items, prepared.ts, prepared.actions
        disliked = np.zeros(len(items), np.bool_)
        if (against := prepared.dislikes) is not None:
            ts = np.concatenate([ts, against.ts])
            order = np.argsort(ts, kind="stable")
            users, items = np.concatenate([users, against.users])[order], np.concatenate([items, against.items])[order]
            ts, actions = ts[order], np.concatenate([actions, against.actions])[order]
            disliked = np.r_[disliked, np.ones(len(against.items), np.bool_)][order]
            self.dirty_users.add(against.users[against.users >= 0])
        self.memory.extend(users, items, ts, actions=actions, disliked=disliked)

    @property
    def touched(self) -> bool:
        """Whether any state changed since the last `delta`."""
        return bool(self.dirty_items or self.dirty_users) or self._departures() != self.announced_departures

    def _departures(self) -> tuple[int, int]:
        return self.departures.now, self.departures.confirmed

    def delta(self, epoch: int = 0) -> StateDelta:
        """Return the absolute states of all rows that changed since the last call."""
        rows = {TableKind.ITEM: self.dirty_items.drain(), TableKind.USER: self.dirty_users.drain()}
        new_users = self.users.named.drain()
        self.announced_departures = self._departures()
        columns: dict[TableKind, dict[str, Array]] = {TableKind.ITEM: {}, TableKind.USER: {}}
        for table in self.tables:
            if table.in_delta:
                columns[table.kind] |= table.served_rows(rows[table.kind])
        return StateDelta.from_columns(
            epoch=epoch,
            events=self.events,
            watermark=self.watermark,
            half_life=self.half_life,
            total=self.states.total,
            total_at=self.states.total_at,
            index_share=self.index_recall.share,
            departed_to=self.departures.now,
            expiry_confirmed=self.departures.confirmed,
            item_rows=rows[TableKind.ITEM].astype(np.int32),
            items=columns[TableKind.ITEM],
            user_rows=rows[TableKind.USER].astype(np.int32),
            users=columns[TableKind.USER],
            new_user_rows=new_users.astype(np.int32),
            new_users=ids_of(self.users, new_users),
        )

    def discard_delta(self) -> None:
        """Discard pending deltas; for a learner that has no readers."""
        self.dirty_items.drain()
        self.dirty_users.drain()
        self.users.named.drain()
        self.announced_departures = self._departures()

    def state_dict(self) -> tuple[dict[str, Array], dict[str, Any]]:
        """Copy everything that training depends on: arrays, and plain values."""
        return state_dict(self)

    @classmethod
    def from_state_dict(cls, config: TrainerConfig, arrays: Mapping[str, Array], values: Mapping[str, Any]) -> Learner:
        """Make a learner that continues, to the last bit, as the one whose `state_dict` this is.

        Raises
        ------
        RuntimeError
            The arrays belong to a model of another shape.
        CheckpointError
            Another index learner made the index.
        """
        learner = cls(config)
        load_state_dict(learner, arrays, values)
        learner.announced_departures = learner._departures()  # by the snapshot that follows a start
        return learner
