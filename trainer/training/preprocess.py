"""What a batch says beside its engagements: items and users that came, changed or went, and items that were shown."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hsnn.streaming.schema.batch import Batch, Engagements
from hsnn.trainer.features.catalogue import ItemCatalogue, Sign, UserCatalogue


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
    described = users.rows([str(user.id) for user in batch.users], described=True)
    for row, user in zip(described.tolist(), batch.users, strict=True):
        if row >= 0:
            users.describe(row, user)
    deleted = _known(users.table.find(batch.deleted_users))
    users.forget(deleted)
    return SideEvents(_apply_items(batch, items), np.r_[_known(described), deleted], deleted)


def first_signs(events: Engagements, rows: NDArray[np.int64], new: NDArray[np.int64]) -> dict[int, Sign]:
    """Make the first sign of each of the `new` rows among the engagements' item `rows` (n,)."""
    if len(new) == 0:
        return {}
    index = np.flatnonzero(np.isin(rows, new))
    unique, first = np.unique(rows[index], return_index=True)
    at = index[first]
    times, sent = events.ts[at].tolist(), events.sent_at[at].tolist()
    return {row: Sign(*sign) for row, *sign in zip(unique.tolist(), times, sent, strict=True)}


def _apply_items(batch: Batch, items: ItemCatalogue) -> dict[int, Sign]:
    touched: dict[int, Sign] = {}
    described, _ = items.rows([str(item.id) for item in batch.items], described=True)
    for row, item, sent_at in zip(described.tolist(), batch.items, batch.item_sent_at, strict=True):
        if row >= 0:
            items.describe(row, item)
            touched[row] = Sign(item.ts, sent_at)
    deleted = _known(items.table.find(batch.deleted_items))
    items.delete(deleted)
    touched |= dict.fromkeys(deleted.tolist(), Sign(batch.watermark, 0))
    shown, new = items.rows([name for name, _, _ in batch.seen_items])
    first = dict.fromkeys(new.tolist())
    for row, (_, ts, sent_at) in zip(shown.tolist(), batch.seen_items, strict=True):
        if row in first and row not in touched:
            touched[row] = Sign(ts, sent_at)
    return touched


def _known(rows: NDArray[np.int64]) -> NDArray[np.int64]:
    return rows[rows >= 0]
