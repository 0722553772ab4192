"""Ids, features and expiry of the mirrored items."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from hsnn.serving.mirror.feature_index import FeatureIndex
from hsnn.serving.mirror.row_ids import RowIds
from hsnn.streaming.schema.events import Feature
from hsnn.trainer.features.expiry import NEVER, expiry_times
from hsnn.trainer.messages import Snapshot
from hsnn.trainer.rowstore.arrays import grown


class MirroredItems:
    """Items by row.

    Attributes
    ----------
    ids : RowIds
    features : FeatureIndex
    expires_at : (rows,) int64
        Expiry set by the producer, epoch ms; 0 for none.
    deleted_at : (rows,) int64
        Watermark at which the deletion became known; 0 for items that exist.
    unavailable_from : (rows,) int64
        The earliest watermark at which the item must not be returned any more; 0 for deleted items.
    """

    def __init__(self, expire_after_idle_ms: int | None, rows: int = 1024) -> None:
        self.expire_after_idle_ms = expire_after_idle_ms
        self.ids = RowIds()
        self.features = FeatureIndex()
        self.expires_at: NDArray[np.int64] = np.zeros(rows, np.int64)
        self.deleted_at: NDArray[np.int64] = np.zeros(rows, np.int64)
        self.unavailable_from: NDArray[np.int64] = np.full(rows, NEVER)

    def reserve(self, rows: int) -> None:
        """Make room for `rows` rows."""
        self.expires_at, self.deleted_at = grown(self.expires_at, rows), grown(self.deleted_at, rows)
        if rows > len(self.unavailable_from):
            bigger = np.full(max(rows, 2 * len(self.unavailable_from)), NEVER)
            bigger[: len(self.unavailable_from)] = self.unavailable_from
            self.unavailable_from = bigger

    def load_snapshot(self, snapshot: Snapshot, changed: Mapping[int, Mapping[str, Feature]]) -> None:
        """Load a snapshot's items, and of its features those that `changed_features` found.

        A deletion that became known after the snapshot's position stays.
        """
        self.expire_after_idle_ms = snapshot.manifest.expire_after_idle_ms
        rows = len(snapshot.item_ids)
        self.reserve(rows)
        if self.ids.ids[:rows] != snapshot.item_ids:
            self.ids.assign(range(rows), snapshot.item_ids)
        self.features.set_many(changed)
        self.expires_at[:rows] = snapshot.items["expires_at"][:rows]
        later = np.where(self.deleted_at > snapshot.manifest.watermark, self.deleted_at, 0)
        self.deleted_at = later
        self.deleted_at[:rows] = np.where(snapshot.items["deleted"][:rows], 1, later[:rows])

    def changed_features(self, snapshot: Snapshot) -> dict[int, Mapping[str, Feature]]:
        """Features of the rows for which a snapshot differs from what is known."""
        known = self.features.features
        return {row: features for row, features in enumerate(snapshot.features) if known(row) != features}

    def set_items(self, rows: Sequence[int], items: Sequence[str], features: Sequence[Mapping[str, Feature]]) -> None:
        """Set ids and features of items, of several for one row the last."""
        self.ids.assign(rows, items)
        self.features.set_many(dict(zip(rows, features, strict=True)))

    def set_end(self, row: int, expires_at: int) -> None:
        """Set the expiry of an item, which is not deleted."""
        self.reserve(row + 1)
        self.expires_at[row] = expires_at
        self.deleted_at[row] = 0

    def delete(self, row: int, watermark: int) -> None:
        """Mark an item as deleted."""
        self.reserve(row + 1)
        self.deleted_at[row] = max(watermark, 1)

    def refresh_expiry(self, rows: NDArray[np.integer] | slice, last: NDArray[np.int64], ended_by: int = 0) -> None:
        """Recompute `unavailable_from` of `rows`, last active at `last` (n,), epoch ms, 0 where unknown.

        What ends at or before `ended_by` is unavailable, whatever the watermark.

        With `expire_after_idle_ms`, an item without known activity cannot be told from an expired one and is not
        returned.
        """
        ends = self.expires_at[rows]
        deleted = (self.deleted_at[rows] > 0) | ((ends > 0) & (ends <= ended_by))
        self.unavailable_from[rows] = expiry_times(last, ends, deleted, self.expire_after_idle_ms)
