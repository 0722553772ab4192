"""Join impressions with the actions that answer them, within a window of stream time.

A shown item waits until the watermark is more than the window past its impression. Then it is labelled: for each task,
whether its user did that action meanwhile; all zeros is an explicit negative. Everything is a function of the batches
alone, so that every run gives the same labels.
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
from hsnn.streaming.join.pending import PendingTable, SlotStatus
from hsnn.streaming.join.repeats import RepeatDetector
from hsnn.streaming.schema.batch import Engagements, LabelledImpressions, gather
from hsnn.streaming.schema.events import Scalar

NOT_ENDED = -1
"""Event time, epoch ms, while no command said up to when all events were sent."""


@dataclass(frozen=True, slots=True)
class ImpressionBatch:
    """m impressions as columns, in order.

    Attributes
    ----------
    ts : (m,) int64
        Event time, epoch ms.
    user, impression_id : m texts
    items : m sequences of texts
        The items that were shown.
    context : m mappings or None
    partition : (m,) int64, or one for all
        Partition of the topic that they came from.
    """

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
    labelled_impressions: LabelledImpressions = field(default_factory=LabelledImpressions.empty)
    impressions: int = 0
    pending: int = 0
    early: int = 0
    late_actions: int = 0

    def batch_fields(self) -> dict[str, Any]:
        """Return the fields by name, to construct a `Batch`."""
        return {
            "engagements": self.engagements,
            "labelled_impressions": self.labelled_impressions,
            "impressions": self.impressions,
            "pending": self.pending,
            "early": self.early,
            "late_actions": self.late_actions,
        }


class Joiner:
    """Joins impressions with the actions that answer them, and marks repeats among the interactions.

    An action answers the impression that it names, else the latest one of its user and item at most a window before it,
    by event time. An action that arrives before its impression waits for it as long. An action whose impression was
    labelled already is late; this is known for one window after the labelling, or for the last `capacity` labels.

    Parameters
    ----------
    tasks
        Actions that are labels, in order.
    window
        Milliseconds of stream time.
    capacity
        Shown items that may wait after a batch; beyond it the first that came are labelled early. As many labelled
        items, actions without an impression, and users for repeats are remembered.
    """

    def __init__(self, tasks: Sequence[str], window: int, capacity: int) -> None:
        self.tasks = tuple(tasks)
        self._bits = {task: 1 << i for i, task in enumerate(self.tasks)}
        self._window, self._capacity = window, capacity
        self._shown, self._actions = PendingTable(), PendingTable()
        self._repeats = RepeatDetector(window, capacity)
        self._unlabelled: dict[int, int] = {}  # number of an impression -> how many of its items wait
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
        """Add a batch and label what is due at its end.

        Parameters
        ----------
        events, impression_ids
            InteractionColumns, and the id of the impression that each of them names, or None.
        impressions
        watermark
            After the batch, epoch ms.
        ended_at
            All events up to this time, epoch ms, were sent: shown items from before it wait no longer.
        partition
            Partition of the topic that the interactions came from, (n,) or one for all.
        """
        self._ended_at = max(self._ended_at, ended_at)
        pending_before = len(self._unlabelled)
        self._add_impressions(impressions)
        late = self._join_actions(events, impression_ids, np.broadcast_to(partition, len(events)))
        judgements, early = self._label_due(watermark)
        self._forget_old(watermark)
        repeat = self._repeats.mark(events, impression_ids, watermark)
        return JoinResult(
            engagements=replace(events, repeat=repeat),
            labelled_impressions=judgements,
            impressions=pending_before + len(impressions.impression_id) - len(self._unlabelled),
            pending=len(self._unlabelled),
            early=early,
            late_actions=late,
        )

    @property
    def pending(self) -> int:
        """Count the impressions that wait for their last item to be labelled."""
        return len(self._unlabelled)

    @property
    def waiting_items(self) -> int:
        """Count the shown items that wait to be labelled; at most the capacity."""
        return int(np.count_nonzero(self._shown.status == SlotStatus.OPEN))

    @property
    def waiting_actions(self) -> int:
        """Count the actions that wait for an impression to answer; at most the capacity."""
        return len(self._actions)

    def state_dict(self) -> dict[str, Any]:
        """Return everything as plain values."""
        return self.deferred_state_dict()()

    def deferred_state_dict(self) -> Callable[[], dict[str, Any]]:
        """Copy the state; the returned function makes the `state_dict` of now, in any thread, at any time."""
        values = {"tasks": list(self.tasks), "impressions": self._impressions, "ended": self._ended_at}
        shown, actions = self._shown.deferred_state(), self._actions.deferred_state()
        repeats = self._repeats.deferred_state()
        return lambda: values | {"shown": shown(), "actions": actions(), "repeats": repeats()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what `state_dict` returned, to the last bit.

        Raises
        ------
        StateError
            It was written with other tasks.
        """
        if tuple(state["tasks"]) != self.tasks:
            raise StateError(
                f"the checkpoint was written with streaming.tasks = {list(state['tasks'])}, now it is "
                f"{list(self.tasks)}; set it back, or start from no checkpoint"
            )
        self._shown = PendingTable.from_state(state["shown"])
        self._actions = PendingTable.from_state(state["actions"])
        self._repeats.load_state(state["repeats"])
        self._impressions, self._ended_at = state["impressions"], state["ended"]
        waiting = self._shown.impression[self._shown.with_status(SlotStatus.OPEN)]
        numbers, counts = np.unique(waiting, return_counts=True)
        self._unlabelled = dict(zip(numbers.tolist(), counts.tolist(), strict=True))

    def _add_impressions(self, impressions: ImpressionBatch) -> None:
        """Add shown items, each once per impression, and join them with the actions that waited for them."""
        if not len(impressions.impression_id):
            return
        items = [list(dict.fromkeys(shown)) for shown in impressions.items]
        counts = np.fromiter(map(len, items), np.int64, len(items))
        row = np.repeat(np.arange(len(items)), counts)  # (n,) row of the impression that showed each item
        rows = row.tolist()
        user, item = gather(impressions.user, rows), list(chain.from_iterable(items))
        # Numbers tell impressions apart, whose ids the producer may have used twice.
        first = self._impressions
        self._unlabelled.update(zip(range(first, first + len(items)), counts.tolist(), strict=True))
        self._impressions += len(items)
        self._shown.add(
            impressions.ts[row],
            task_bits=0,
            impression=first + row,
            partition=np.broadcast_to(impressions.partition, len(items))[row],
            user=user,
            item=item,
            impression_id=gather(impressions.impression_id, rows),
            context=gather(impressions.context, rows),
        )
        if len(self._actions):
            self._join_waiting(np.array(self._actions.find_all(user, item), np.int64))

    def _join_waiting(self, slots: NDArray[np.int64]) -> None:
        """Try again to join actions that waited for an impression."""
        if len(slots):
            actions = self._actions
            user, item = actions.user[slots].tolist(), actions.item[slots].tolist()
            impression_id = actions.impression_id[slots].tolist()
            matches = self._find_shown(user, item, impression_id, actions.ts[slots])
            matched = matches >= 0
            np.bitwise_or.at(self._shown.task_bits, matches[matched], actions.task_bits[slots[matched]])
            actions.remove(slots[matched])

    def _join_actions(
        self, events: Engagements, impression_ids: Sequence[str | None], partition: NDArray[np.int64]
    ) -> int:
        """Label what the batch's actions answer; return how many came too late."""
        bits = np.fromiter((self._bits.get(action, 0) for action in events.action), np.int64, len(events))
        labelling = np.flatnonzero(bits)  # rows whose action is a task
        if not len(labelling):
            return 0
        bits, ts = bits[labelling], events.ts[labelling]
        rows = labelling.tolist()
        user, item, impression_id = gather(events.user, rows), gather(events.item, rows), gather(impression_ids, rows)
        matches = self._find_shown(user, item, impression_id, ts)
        matched = matches >= 0
        # `bitwise_or.at`: several actions of a batch may answer the same item, and a plain `|=` would keep only one.
        np.bitwise_or.at(self._shown.task_bits, matches[matched], bits[matched])
        if len(alone := np.flatnonzero(~matched)):
            rows = alone.tolist()
            self._actions.add(
                ts[alone],
                task_bits=bits[alone],
                impression=0,
                partition=partition[labelling[alone]],
                user=gather(user, rows),
                item=gather(item, rows),
                impression_id=gather(impression_id, rows),
                context=[None] * len(rows),
            )
        return int(np.count_nonzero(self._shown.status[matches[matched]] == SlotStatus.DONE))

    def _find_shown(
        self,
        user: Sequence[str],
        item: Sequence[str],
        impression_id: Sequence[str | None],
        ts: NDArray[np.int64],
    ) -> NDArray[np.int64]:
        slots = self._shown.find(user, item, impression_id, ts=ts, window=self._window)
        return np.array(slots, np.int64)

    def _label_due(self, watermark: int) -> tuple[LabelledImpressions, int]:
        """Label the shown items that are due; return them, and how many were labelled early for want of room."""
        waiting = self._shown.with_status(SlotStatus.OPEN)
        if not len(waiting):
            return LabelledImpressions.empty(len(self.tasks)), 0
        ts = self._shown.ts[waiting]
        due = (ts + self._window < watermark) | (ts <= self._ended_at)
        # `waiting` is in order of arrival, so the first that are not due have waited longest.
        early = max(0, len(waiting) - int(np.count_nonzero(due)) - self._capacity)
        due[np.flatnonzero(~due)[:early]] = True
        return self._label(waiting[due], watermark), early

    def _label(self, slots: NDArray[np.int64], watermark: int) -> LabelledImpressions:
        shown = self._shown
        shown.status[slots] = SlotStatus.DONE
        numbers, counts = np.unique(shown.impression[slots], return_counts=True)
        for number, count in zip(numbers.tolist(), counts.tolist(), strict=True):
            self._unlabelled[number] -= count
            if not self._unlabelled[number]:
                del self._unlabelled[number]
        bits = np.arange(len(self.tasks))
        labels = shown.task_bits[slots, None] >> bits & 1  # (n, tasks): bit i is the label of task i
        return LabelledImpressions(
            ts=shown.ts[slots],
            decided_at=np.full(len(slots), watermark),
            user=shown.user[slots].tolist(),
            item=shown.item[slots].tolist(),
            labels=labels.astype(np.float32),
            context=shown.context[slots].tolist(),
        )

    def _forget_old(self, watermark: int) -> None:
        """Forget labelled items, and actions whose impression never came."""
        # Two windows for labelled items: an action may come a window after its impression, and be a window late.
        self._forget(self._shown, SlotStatus.DONE, watermark - 2 * self._window)
        self._forget(self._actions, SlotStatus.OPEN, watermark - self._window)

    def _forget(self, table: PendingTable, status: SlotStatus, before: int) -> None:
        slots = table.with_status(status)
        if len(slots):
            old = table.ts[slots] < before
            # Slots are in order of arrival: beyond the capacity the first that came go, however young by event time.
            old[: max(0, len(slots) - self._capacity)] = True
            table.remove(slots[old])


def joiner_from_config(config: StreamingConfig) -> Joiner | None:
    """Make the joiner of a configuration; None if it names no tasks."""
    if not config.tasks:
        return None
    return Joiner(config.tasks, int(config.attribution_window * 1000), config.joiner_capacity)
