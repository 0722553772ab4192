"""The columnar form of events: arrays, not objects, from the consumer on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from streaming.events import Item, Scalar, User

Position = tuple[str, int]
"""(topic, partition)."""


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
    """

    ts: NDArray[np.int64]
    sent_at: NDArray[np.int64]
    user: Sequence[str]
    item: Sequence[str]
    action: Sequence[str]
    value: NDArray[np.float32]
    context: Sequence[dict[str, Scalar] | None]

    def __len__(self) -> int:
        return len(self.ts)

    def slice(self, start: int, stop: int) -> Engagements:
        """Rows ``start`` to ``stop``; arrays are views."""
        part = slice(start, stop)
        return Engagements(
            self.ts[part], self.sent_at[part], self.user[part], self.item[part], self.action[part], self.value[part],
            self.context[part],
        )  # fmt: skip


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
    dead_lettered: int = 0
    dropped: dict[str, int] = field(default_factory=dict)
    dry: bool = False
