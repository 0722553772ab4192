"""The joiner: what users were shown meets what they did with it, within a window of stream time.

A shown item waits until the watermark is further than the window past its impression; then it is judged: a label per
task that its user did meanwhile, zeros if none. Everything is a function of the batches alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hsnn.streaming.config import StreamingConfig
from hsnn.streaming.errors import StateError
from hsnn.streaming.join.pending import CONTEXT, DONE, GROUP, ITEM, MASK, OPEN, STATUS, TS, USER, PendingTable
from hsnn.streaming.join.repeats import RepeatDetector
from hsnn.streaming.schema.batch import Engagements, Judgements, take
from hsnn.streaming.schema.events import Scalar

NOT_ENDED = -1
"""Stream time before which everything was sent, while nobody has said so."""


@dataclass(frozen=True, slots=True)
class ImpressionBatch:
    """m impressions as columns, in order: event time (m,) int64, user, id, items, context, and their partitions."""

    ts: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    user: Sequence[str] = ()
    impression_id: Sequence[str] = ()
    items: Sequence[Sequence[str]] = ()
    context: Sequence[dict[str, Scalar] | None] = ()
    partition: NDArray[np.int64] | int = 0


@dataclass(frozen=True, slots=True)
class JoinResult:
    """What joining a batch gave; the names are those of `hsnn.streaming.schema.batch.Batch`."""

    engagements: Engagements
    judgements: Judgements = field(default_factory=Judgements.none)
    impressions: int = 0
    pending: int = 0
    early: int = 0
    late_actions: int = 0

    def batch_fields(self) -> dict[str, Any]:
        """Return the fields by name, for `Batch`."""
        return {
            "engagements": self.engagements,
            "judgements": self.judgements,
            "impressions": self.impressions,
            "pending": self.pending,
            "early": self.early,
            "late_actions": self.late_actions,
        }


class Joiner:
    """Joins impressions with the actions that answer them, and marks repeats among the interactions.

    An action answers the impression that it names, else the latest one of its user and item at most a window before it,
    by event time. One that comes before its impression waits for it as long. One whose impression was judged already is
    late; this is known for one window after the judgement, or for the last `capacity` judgements.

    Parameters
    ----------
    tasks
        Actions that are labels, in order.
    window
        Milliseconds of stream time.
    capacity
        Shown items that wait at most after a batch; beyond it the first that came are judged early. As many judged
        ones, actions without an impression, and users for repeats are remembered.
    """

    def __init__(self, tasks: Sequence[str], window: int, capacity: int) -> None:
        self.tasks = tuple(tasks)
        self._bits = {task: 1 << at for at, task in enumerate(self.tasks)}
        self._window, self._capacity = window, capacity
        self._shown, self._actions = PendingTable(), PendingTable()
        self._repeats = RepeatDetector(window, capacity)
        self._unlabelled: dict[int, int] = {}  # number of an impression -> its items that wait
        self._impressions = 0
        self._ended_at = NOT_ENDED

    def update(
        self,
        events: Engagements,
        impression_ids: Sequence[str | None],
        impressions: ImpressionBatch,
        watermark: int,
        ended_at: int = NOT_ENDED,
        partition: NDArray[np.int64] | int = 0,
    ) -> JoinResult:
        """Take in a batch and judge what is due at its end.

        Parameters
        ----------
        events, named
            Interactions, and the id of the impression that each of them names.
        shown
            ImpressionBatch.
        watermark
            After the batch, epoch ms.
        ended
            All events up to this time were sent: shown items from before it wait no longer.
        partition
            That the interactions came from, (n,) or one for all.
        """
        self._ended_at = max(self._ended_at, ended_at)
        before = len(self._unlabelled)
        self._enter(impressions)
        late = self._join(events, impression_ids, np.broadcast_to(partition, len(events)))
        judgements, early = self._judge(watermark)
        self._retire(watermark)
        repeat = self._repeats.mark(events, impression_ids, watermark)
        done = before + len(impressions.impression_id) - len(self._unlabelled)
        return JoinResult(replace(events, repeat=repeat), judgements, done, len(self._unlabelled), early, late)

    @property
    def pending(self) -> int:
        """ImpressionBatch that wait for their last item to be judged."""
        return len(self._unlabelled)

    def state_dict(self) -> dict[str, Any]:
        """Copy everything, as plain values."""
        return self.capture_state()()

    def capture_state(self) -> Callable[[], dict[str, Any]]:
        """Note everything; the call of what is returned is `state` of now, in any thread, at any time."""
        plain = {"tasks": list(self.tasks), "impressions": self._impressions, "ended": self._ended_at}
        parts: dict[str, Any] = {"shown": self._shown, "actions": self._actions, "repeats": self._repeats}
        noted = {name: part.frozen() for name, part in parts.items()}
        return lambda: plain | {name: one() for name, one in noted.items()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state` gave, to the last bit.

        Raises
        ------
        StateError
            It was of other tasks.
        """
        if tuple(state["tasks"]) != self.tasks:
            raise StateError(
                f"the checkpoint was written with streaming.tasks = {list(state['tasks'])}, now it is "
                f"{list(self.tasks)}; set it back, or start from no checkpoint"
            )
        self._shown, self._actions = PendingTable.from_state(state["shown"]), PendingTable.from_state(state["actions"])
        self._repeats.load_state_dict(state["repeats"])
        self._impressions, self._ended_at = state["impressions"], state["ended"]
        groups, counts = np.unique(self._shown.numbers[GROUP, self._shown.with_status(OPEN)], return_counts=True)
        self._unlabelled = dict(zip(groups.tolist(), counts.tolist(), strict=True))

    def _enter(self, shown: ImpressionBatch) -> None:
        """Let shown items wait, each once per impression, and give them the actions that waited for them."""
        if not len(shown.impression_id):
            return
        items = [list(dict.fromkeys(row)) for row in shown.items]
        counts = np.fromiter(map(len, items), np.int64, len(items))
        row = np.repeat(np.arange(len(items)), counts)  # (n,) impression of each item
        groups = self._impressions + row
        self._unlabelled.update(
            zip(range(self._impressions, self._impressions + len(items)), counts.tolist(), strict=True)
        )
        self._impressions += len(items)
        at = row.tolist()
        user, name, context = take(shown.user, at), take(shown.impression_id, at), take(shown.context, at)
        item = list(chain.from_iterable(items))
        partition = np.broadcast_to(shown.partition, len(items))[row]
        self._shown.add(shown.ts[row], 0, groups, partition, user, item, name, context)
        if len(self._actions):
            self._answer(np.array(self._actions.find_all(user, item), np.int64))

    def _answer(self, waiting: NDArray[np.int64]) -> None:
        """Try again to join actions that waited."""
        if len(waiting):
            numbers, (user, item, name, _) = self._actions.numbers, self._actions.objects[:, waiting].tolist()
            found = np.array(self._shown.find(user, item, name, numbers[TS, waiting], self._window), np.int64)
            there = found >= 0
            np.bitwise_or.at(self._shown.numbers[MASK], found[there], numbers[MASK, waiting[there]])
            self._actions.remove(waiting[there])

    def _join(self, events: Engagements, named: Sequence[str | None], partition: NDArray[np.int64]) -> int:
        """Label what the batch's actions answer; return how many came too late."""
        bits = np.fromiter((self._bits.get(action, 0) for action in events.action), np.int64, len(events))
        at = np.flatnonzero(bits)
        if not len(at):
            return 0
        bits, ts = bits[at], events.ts[at]
        rows = at.tolist()
        user, item, name = take(events.user, rows), take(events.item, rows), take(named, rows)
        found = np.array(self._shown.find(user, item, name, ts, self._window), np.int64)
        there = found >= 0
        np.bitwise_or.at(self._shown.numbers[MASK], found[there], bits[there])
        if len(alone := np.flatnonzero(~there)):
            rows = alone.tolist()
            texts = take(user, rows), take(item, rows), take(name, rows)
            self._actions.add(ts[alone], bits[alone], 0, partition[at[alone]], *texts, [None] * len(rows))
        return int(np.count_nonzero(self._shown.numbers[STATUS, found[there]] == DONE))

    def _judge(self, watermark: int) -> tuple[Judgements, int]:
        waiting = self._shown.with_status(OPEN)
        if not len(waiting):
            return Judgements.none(len(self.tasks)), 0
        ts = self._shown.numbers[TS, waiting]
        due = (ts + self._window < watermark) | (ts <= self._ended_at)
        early = max(0, len(waiting) - int(np.count_nonzero(due)) - self._capacity)
        due[np.flatnonzero(~due)[:early]] = True
        return self._judged(waiting[due], watermark), early

    def _judged(self, slots: NDArray[np.int64], watermark: int) -> Judgements:
        numbers, objects = self._shown.numbers, self._shown.objects
        numbers[STATUS, slots] = DONE
        groups, counts = np.unique(numbers[GROUP, slots], return_counts=True)
        for group, count in zip(groups.tolist(), counts.tolist(), strict=True):
            self._unlabelled[group] -= count
            if not self._unlabelled[group]:
                del self._unlabelled[group]
        labels = numbers[MASK, slots, None] >> np.arange(len(self.tasks)) & 1
        user, item, context = objects[[USER, ITEM, CONTEXT]][:, slots].tolist()
        return Judgements(
            numbers[TS, slots], np.full(len(slots), watermark), user, item, labels.astype(np.float32), context
        )

    def _retire(self, watermark: int) -> None:
        """Forget judged items, and actions that no impression came for."""
        for rows, status, reach in ((self._shown, DONE, 2 * self._window), (self._actions, OPEN, self._window)):
            slots = rows.with_status(status)
            if len(slots):
                gone = rows.numbers[TS, slots] + reach < watermark
                gone[: max(0, len(slots) - self._capacity)] = True
                rows.remove(slots[gone])


def joiner_from_config(config: StreamingConfig) -> Joiner | None:
    """Make the joiner of a configuration; None if it names no tasks."""
    if not config.tasks:
        return None
    return Joiner(config.tasks, int(config.attribution_window * 1000), config.joiner_capacity)
