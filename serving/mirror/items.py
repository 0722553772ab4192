"""What a mirror knows of items beside the index: ids, features, and when each of them must no longer be returned."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from hsnn.serving.mirror.feature_index import FeatureIndex
from hsnn.serving.mirror.row_ids import RowIds
from hsnn.streaming.schema.events import Feature
from hsnn.trainer.features.expiry import NEVER, dies_at
from hsnn.trainer.messages import Snapshot
from hsnn.trainer.rowstore.arrays import grown


class MirroredItems:
    """Items by row.

    Attributes
    ----------
    ids : names of the rows
    features : raw features by row and by value
    expires_at : (rows,) int64
        Epoch ms, 0 for never.
    deleted_at : (rows,) int64
        Watermark at which the mirror learned of the deletion, 0 for items that exist.
    dead_at : (rows,) int64
        The earliest watermark at which the item must no longer be returned; 0 for deleted items.
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
        """Take over a snapshot's items, and those of its features that `changes` found.

        A deletion that the mirror learned of after the snapshot's position stays.
        """
        self.expire_after_idle_ms = snapshot.manifest.expire_after_idle_ms
        rows = len(snapshot.item_ids)
        self.reserve(rows)
        if self.ids.ids[:rows] != snapshot.item_ids:
            for row, name in enumerate(snapshot.item_ids):
                self.ids.assign(row, name)
        for row, features in changed.items():
            self.features.set_features(row, features)
        self.expires_at[:rows] = snapshot.items["expires_at"][:rows]
        later = np.where(self.deleted_at > snapshot.manifest.watermark, self.deleted_at, 0)
        self.deleted_at = later
        self.deleted_at[:rows] = np.where(snapshot.items["deleted"][:rows], 1, later[:rows])

    def changed_features(self, snapshot: Snapshot) -> dict[int, Mapping[str, Feature]]:
        """Rows whose features in the snapshot differ from the ones known."""
        known = self.features.features
        return {row: features for row, features in enumerate(snapshot.features) if known.get(row, {}) != features}

    def set_item(self, row: int, item: str, features: Mapping[str, Feature], expires_at: int) -> None:
        """Learn of an item that exists."""
        self.reserve(row + 1)
        self.ids.assign(row, item)
        self.features.set_features(row, features)
        self.expires_at[row] = expires_at
        self.deleted_at[row] = 0

    def delete(self, row: int, watermark: int) -> None:
        """Learn that an item was deleted."""
        self.reserve(row + 1)
        self.deleted_at[row] = max(watermark, 1)

    def refresh_expiry(self, rows: NDArray[np.integer] | slice, last: NDArray[np.int64]) -> None:
        """Recompute `dead_at` of `rows`, whose last sign of life was at `last` (n,), 0 where none is known yet.

        With `expire_after_idle_ms`, an item of which nothing is known cannot be told from an expired one and is not
        returned.
        """
        deleted = self.deleted_at[rows] > 0
        self.unavailable_from[rows] = dies_at(last, self.expires_at[rows], deleted, self.expire_after_idle_ms)
