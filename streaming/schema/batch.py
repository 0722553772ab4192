"""The columnar form of events: arrays, not objects, from the consumer on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from hsnn.streaming.log.records import Position
from hsnn.streaming.schema.events import Item, Scalar, User

_T = TypeVar("_T")


def gather(column: Sequence[_T], at: Sequence[int]) -> list[_T]:
    """Return the values of a column of objects at some rows.

    Examples
    --------
    >>> gather(["a", "b", "c"], [2, 0])
    ['c', 'a']
    """
    return [column[row] for row in at]


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
        Whether the event says more of what the user's previous event said: the same item again, by the same impression
        or soon after it. A label or a weight, but no new step of the user's history. All False if not given.
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
        """Rows ``start`` to ``stop``; arrays are views."""
        part = slice(start, stop)
        return Engagements(
            self.ts[part],
            self.sent_at[part],
            self.user[part],
            self.item[part],
            self.action[part],
            self.value[part],
            self.context[part],
            self.repeat[part],
        )


@dataclass(frozen=True, slots=True)
class LabelledImpressions:
    """Items that users were shown and whose fate is known, as columns, in the order in which it was decided.

    Attributes
    ----------
    ts : (n,) int64
        Event time of the impression, epoch ms.
    decided_at : (n,) int64
        Watermark at which it was decided, epoch ms.
    user, item : n texts
    labels : (n, A) float32
        1 where the user did this action, in the order of ``streaming.tasks``; a row of zeros is an explicit negative.
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

    def select(self, at: NDArray[np.int64]) -> LabelledImpressions:
        """Take some of them."""
        places = at.tolist()
        return LabelledImpressions(
            self.ts[at],
            self.decided_at[at],
            gather(self.user, places),
            gather(self.item, places),
            self.labels[at],
            gather(self.context, places),
        )

    @classmethod
    def empty(cls, tasks: int = 0) -> LabelledImpressions:
        """No judgements, of so many tasks."""
        return _no_judgements(tasks)


@lru_cache
def _no_judgements(tasks: int) -> LabelledImpressions:
    no_time = np.zeros(0, np.int64)
    return LabelledImpressions(no_time, no_time, (), (), np.zeros((0, tasks), np.float32), ())


@dataclass(frozen=True, slots=True)
class Batch:
    """What the trainer learns from at once, and where the log stands after it.

    Attributes
    ----------
    engagements
        Exactly the configured number of interactions, fewer only when the log ran dry.
    items, users
        Item and user events that lie before the batch's end, in order; apply them before learning.
    item_sent_at : wall ms per entry of `items`
    deleted_items
        Ids whose item record had a null value.
    deleted_users
        Ids whose user record had a null value.
    control
        Records of the control topic that lie before the batch's end, as they are.
    seen_items : (id, ts, sent_at) of impressions
        Items that were shown: they exist, whether or not anybody acted on them.
    positions
        Next offset per (topic, partition), once this batch is learned.
    judgements
        Shown items whose fate became known by this batch's watermark; empty if ``streaming.tasks`` is.
    impressions
        Impression events of which the last item was judged with this batch: they count as trained with it.
    pending
        Impression events that wait, after this batch, for their last item to be judged.
    early, late_actions
        Shown items judged before their time because the joiner was full; labels that came after the judgement.
    dead_lettered, dropped
        Engagement events consumed on the way that are not in `engagements`; `dropped` per reason.
    watermark
        Largest accepted event time so far, epoch ms.
    dry
        True if the log had no more records ready when the batch was closed.
    """

    engagements: Engagements
    positions: dict[Position, int]
    watermark: int
    items: Sequence[Item] = ()
    item_sent_at: Sequence[int] = ()
    users: Sequence[User] = ()
    deleted_items: Sequence[str] = ()
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
    caught_up: bool = False
