"""Batches of events as columns, the form of events from the consumer on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from hsnn.streaming.log.records import Position
from hsnn.streaming.schema.events import ItemEvent, Scalar, User

_T = TypeVar("_T")


def gather(column: Sequence[_T], rows: Sequence[int]) -> list[_T]:
    """Return the values of a column of objects at the rows.

    Examples
    --------
    >>> gather(["a", "b", "c"], [2, 0])
    ['c', 'a']
    """
    return [column[row] for row in rows]


@dataclass(frozen=True, slots=True)
class Engagements:
    """Interactions as columns, in log order; row ``i`` of every column is one event.

    Attributes
    ----------
    ts : (n,) int64
        Event time, epoch ms.
    sent_at : (n,) int64
        Wall time at which the producer sent the record, epoch ms.
    user, item, action : n texts
    value : (n,) float32
        NaN where the event had none.
    context : n mappings or None
    repeat : (n,) bool
        Whether the event repeats the user's previous event: the same item by the same impression, or soon after it.
        A repeat is a label or a weight, and no new step of the user's history. All False if not given.
    """

    ts: NDArray[np.int64]
    sent_at: NDArray[np.int64]
    user: Sequence[str]
    item: Sequence[str]
    action: Sequence[str]
    value: NDArray[np.float32]
    context: Sequence[dict[str, Scalar] | None]
    repeat: NDArray[np.bool_] = field(default_factory=lambda: np.zeros(0, np.bool_))

    def __post_init__(self) -> None:
        if len(self.repeat) != len(self.ts):
            object.__setattr__(self, "repeat", np.zeros(len(self.ts), np.bool_))

    def __len__(self) -> int:
        return len(self.ts)

    def slice(self, start: int, stop: int) -> Engagements:
        """Return rows ``start`` to ``stop``; arrays are views."""
        rows = slice(start, stop)
        return Engagements(
            ts=self.ts[rows],
            sent_at=self.sent_at[rows],
            user=self.user[rows],
            item=self.item[rows],
            action=self.action[rows],
            value=self.value[rows],
            context=self.context[rows],
            repeat=self.repeat[rows],
        )


@dataclass(frozen=True, slots=True)
class LabelledImpressions:
    """Items that users were shown, with their labels, as columns in the order of labelling.

    Attributes
    ----------
    ts : (n,) int64
        Event time of the impression, epoch ms.
    decided_at : (n,) int64
        Watermark at which the labels were decided, epoch ms.
    user, item : n texts
    labels : (n, A) float32
        1 where the user took this action, in the order of ``streaming.tasks``; a row of zeros is an explicit negative.
    context : n mappings or None
        Of the impression.

    Examples
    --------
    >>> LabelledImpressions.empty(2).labels.shape
    (0, 2)
    """

    ts: NDArray[np.int64]
    decided_at: NDArray[np.int64]
    user: Sequence[str]
    item: Sequence[str]
    labels: NDArray[np.float32]
    context: Sequence[dict[str, Scalar] | None]

    def __len__(self) -> int:
        return len(self.ts)

    def select(self, rows: NDArray[np.int64]) -> LabelledImpressions:
        """Return the rows, in the order given."""
        listed = rows.tolist()
        return LabelledImpressions(
            ts=self.ts[rows],
            decided_at=self.decided_at[rows],
            user=gather(self.user, listed),
            item=gather(self.item, listed),
            labels=self.labels[rows],
            context=gather(self.context, listed),
        )

    @classmethod
    def empty(cls, tasks: int = 0) -> LabelledImpressions:
        """Return no rows, with label columns for `tasks` tasks."""
        return _empty_labelled(tasks)


@lru_cache
def _empty_labelled(tasks: int) -> LabelledImpressions:
    no_time = np.zeros(0, np.int64)
    return LabelledImpressions(
        ts=no_time, decided_at=no_time, user=(), item=(), labels=np.zeros((0, tasks), np.float32), context=()
    )


@dataclass(frozen=True, slots=True)
class Batch:
    """What the trainer learns from in one step, and the positions in the log after it.

    Attributes
    ----------
    engagements
        Exactly the configured number of interactions; fewer only when the log had no more.
    items, users
        Events about items, deletions among them, and user events before the batch's end, in order; to be applied
        before learning.
    item_sent_at : wall ms per entry of `items`
    deleted_users
        Ids whose user record had a null value.
    control
        Records of the control topic before the batch's end, undecoded.
    seen_items : (id, ts, sent_at) of impressions
        Items that were shown: they exist, whether or not a user acted on them.
    positions
        Next offset per (topic, partition) after this batch.
    labelled_impressions
        Shown items whose labels were decided by this batch's watermark; empty if ``streaming.tasks`` is.
    impressions
        Impression events whose last item was labelled with this batch: they count as trained with it.
    pending
        Impression events that wait, after this batch, for the labels of their last item.
    early, late_actions
        Shown items labelled before their time because the joiner was full; actions that came after the labelling.
    dead_lettered, dropped
        Engagement events that were consumed and are not in `engagements`; `dropped` per reason.
    letter_reasons
        Those of `dead_lettered` per reason.
    watermark
        Largest accepted event time so far, epoch ms.
    dry
        Whether the log had no more records when the batch was closed.
    """

    engagements: Engagements
    positions: dict[Position, int]
    watermark: int
    items: Sequence[ItemEvent] = ()
    item_sent_at: Sequence[int] = ()
    users: Sequence[User] = ()
    deleted_users: Sequence[str] = ()
    control: Sequence[bytes] = ()
    seen_items: Sequence[tuple[str, int, int]] = ()
    labelled_impressions: LabelledImpressions = field(default_factory=LabelledImpressions.empty)
    impressions: int = 0
    pending: int = 0
    early: int = 0
    late_actions: int = 0
    dead_lettered: int = 0
    dropped: dict[str, int] = field(default_factory=dict)
    letter_reasons: dict[str, int] = field(default_factory=dict)
    caught_up: bool = False
