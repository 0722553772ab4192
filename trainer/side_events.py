"""What a batch says beside its engagements: items and users that came, changed or went, and items that were shown."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from streaming.columns import Batch, Engagements
from trainer.catalogue import ItemCatalogue, Sign, UserCatalogue


class SideEvents(NamedTuple):
    """Rows that a batch's side events touched.

    Attributes
    ----------
    items : row -> Sign
        In order of first touch.
    users : (n,) int64
        Described or deleted.
    deleted_users : (m,) int64
    """

    items: dict[int, Sign]
    users: NDArray[np.int64]
    deleted_users: NDArray[np.int64]


def apply_side_events(batch: Batch, items: ItemCatalogue, users: UserCatalogue) -> SideEvents:
    """Apply a batch's item, user and deletion events and shown items.

    Deleting what is not known changes nothing.
    """
    described = users.rows([str(user.id) for user in batch.users])
    for row, user in zip(described.tolist(), batch.users, strict=True):
        users.describe(row, user)
    deleted = _known(users.table.find(batch.deleted_users))
    users.forget(deleted)
    return SideEvents(_apply_items(batch, items), np.r_[described, deleted], deleted)


def first_signs(events: Engagements, rows: NDArray[np.int64], new: NDArray[np.int64]) -> dict[int, Sign]:
    """Make the first sign of each of the `new` rows among the engagements' item `rows` (n,)."""
    if len(new) == 0:
        return {}
    index = np.flatnonzero(rows >= new[0])
    unique, first = np.unique(rows[index], return_index=True)
    at = index[first]
    times, sent = events.ts[at].tolist(), events.sent_at[at].tolist()
    return {row: Sign(*sign) for row, *sign in zip(unique.tolist(), times, sent, strict=True)}


def _apply_items(batch: Batch, items: ItemCatalogue) -> dict[int, Sign]:
    touched: dict[int, Sign] = {}
    for item, sent_at in zip(batch.items, batch.item_sent_at, strict=True):
        row = int(items.rows([str(item.id)])[0][0])
        items.describe(row, item)
        touched[row] = Sign(item.ts, sent_at)
    deleted = _known(items.table.find(batch.deleted_items))
    items.delete(deleted)
    touched |= dict.fromkeys(deleted.tolist(), Sign(batch.watermark, 0))
    for name, ts, sent_at in batch.seen_items:
        _, new = items.rows([name])
        touched.update({int(row): Sign(ts, sent_at) for row in new})
    return touched


def _known(rows: NDArray[np.int64]) -> NDArray[np.int64]:
    return rows[rows >= 0]
