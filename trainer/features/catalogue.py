"""Item and user tables: ids, content features and their hashed tokens, expiry and deletion."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hsnn.streaming.schema.events import Feature, Item, User
from hsnn.trainer.config.model import ModelConfig
from hsnn.trainer.features.hashing import hash_features
from hsnn.trainer.ids.admission import IdAdmission
from hsnn.trainer.ids.id_table import IdTable
from hsnn.trainer.ids.string_store import StringStore
from hsnn.trainer.messages import FeedItem
from hsnn.trainer.rowstore.arrays import Array, grown
from hsnn.trainer.rowstore.dirty_rows import DirtyRows
from hsnn.trainer.rowstore.write_barrier import WriteBarrier


class EventTimes(NamedTuple):
    """Times of the event that announced an item: event time, and wall time of sending (0 = unknown), epoch ms."""

    ts: int
    sent_at: int


class ItemTable:
    """Items by row: features, hashed tokens, expiry and deletion.

    Attributes
    ----------
    table : IdTable
    tokens : (rows, T) int32
        Hashed content features, -1 padded.
    expires_at : (rows,) int64
        Epoch ms; 0 = never.
    deleted : (rows,) bool
    features : one mapping per row
    admission : IdAdmission or None
        Decides which ids get a row; None: every id does.
    barrier : WriteBarrier
        Called before any of these is written.
    """

    def __init__(self, config: ModelConfig) -> None:
        self._config = config
        self._ignored = frozenset(config.ignored_features)
        self.table = IdTable()
        self.tokens: NDArray[np.int32] = np.full((1024, config.item_tokens), -1, np.int32)
        self.expires_at: NDArray[np.int64] = np.zeros(1024, np.int64)
        self.deleted: NDArray[np.bool_] = np.zeros(1024, np.bool_)
        self.features: list[dict[str, Feature]] = []
        self.admission: IdAdmission | None = None
        self.barrier = WriteBarrier()

    def __len__(self) -> int:
        return len(self.table)

    def reserve(self, rows: int) -> None:
        """Make room for `rows` rows."""
        self.tokens = grown(self.tokens, rows, -1)
        self.expires_at, self.deleted = grown(self.expires_at, rows), grown(self.deleted, rows)

    def columns(self) -> dict[str, Array]:
        """Return the arrays in use by name."""
        return {"tokens": self.tokens, "expires_at": self.expires_at, "deleted": self.deleted}

    def load_columns(self, columns: Mapping[str, Array]) -> None:
        """Continue from copies of a checkpoint's columns."""
        self.tokens = columns["tokens"].copy()
        self.expires_at = columns["expires_at"].copy()
        self.deleted = columns["deleted"].copy()

    def rows(self, names: Sequence[str], *, described: bool = False) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the rows of `names` (n,), -1 for ids without one, and those assigned by this call, once each."""
        before = len(self.table)
        if self.admission is None:
            rows = self.table.add(names)
            new = np.arange(before, len(self.table))
        else:
            rows, new = self.admission.rows(names, described=described)
        self.reserve(len(self.table))
        self.features.extend({} for _ in range(len(self.table) - len(self.features)))
        self.barrier.before_write(new)
        self.deleted[new] = False
        return rows, new

    def clear(self, rows: NDArray[np.integer]) -> None:
        """Reset `rows` that no longer have an item; they stay deleted until they are assigned again."""
        self.barrier.before_write(rows)
        self.tokens[rows], self.expires_at[rows] = -1, 0
        for row in rows.tolist():
            self.features[row] = {}

    def describe(self, row: int, item: Item) -> None:
        """Store the features of an item event; a deleted item is restored."""
        self.barrier.before_write(row)
        self.features[row] = item.features
        tokens = hash_features(item.features, self._config.buckets, self._config.item_tokens, self._ignored)
        self.tokens[row] = -1
        self.tokens[row, : len(tokens)] = tokens
        self.expires_at[row] = item.expires_at or 0
        self.deleted[row] = False

    def delete(self, rows: NDArray[np.int64]) -> None:
        """Mark items as deleted."""
        self.barrier.before_write(rows)
        self.deleted[rows] = True

    def feed_item(self, row: int, sign: EventTimes) -> FeedItem:
        """Build the message that tells the scheduler of a new, changed or deleted item."""
        present = self.tokens[row][self.tokens[row] >= 0]
        return FeedItem(
            id=self.table.ids[row],
            row=row,
            tokens=present.tolist(),
            features=self.features[row],
            ts=sign.ts,
            sent_at=sign.sent_at,
            expires_at=int(self.expires_at[row]) or None,
            deleted=bool(self.deleted[row]),
        )


class UserTable:
    """Users by row: features as hashed tokens.

    Attributes
    ----------
    table : IdTable
    tokens : (rows, C) int32
        Hashed features, -1 padded.
    admission : IdAdmission or None
        Decides which ids get a row; None: every id does.
    named : DirtyRows
        Rows that were assigned to users.
    barrier : WriteBarrier
        Called before the tokens are written.
    """

    def __init__(self, config: ModelConfig) -> None:
        self._config = config
        self._ignored = frozenset(config.ignored_features)
        self.table = IdTable()
        self.tokens: NDArray[np.int32] = np.full((1024, config.user_tokens), -1, np.int32)
        self.admission: IdAdmission | None = None
        self.named = DirtyRows()
        self.barrier = WriteBarrier()

    def __len__(self) -> int:
        return len(self.table)

    def reserve(self, rows: int) -> None:
        """Make room for `rows` rows."""
        self.tokens = grown(self.tokens, rows, -1)

    def columns(self) -> dict[str, Array]:
        """Return the arrays in use by name."""
        return {"tokens": self.tokens}

    def load_columns(self, columns: Mapping[str, Array]) -> None:
        """Continue from copies of a checkpoint's columns."""
        self.tokens = columns["tokens"].copy()

    def rows(self, names: Sequence[str], *, described: bool = False) -> NDArray[np.int64]:
        """Return the rows of `names` (n,), assigning new ones; -1 for ids without one."""
        before = len(self.table)
        if self.admission is None:
            rows = self.table.add(names)
            self.named.add(np.arange(before, len(self.table)))
        else:
            rows, given = self.admission.rows(names, described=described)
            self.named.add(given)
        self.reserve(len(self.table))
        return rows

    def tokens_of(self, rows: NDArray[np.integer]) -> NDArray[np.int32]:
        """Gather the feature tokens (n, C) of rows (n,); all -1 for the row -1."""
        return np.where(rows[:, None] >= 0, self.tokens[rows], -1)

    def describe(self, row: int, user: User) -> None:
        """Store the features of a user event."""
        self.barrier.before_write(row)
        tokens = hash_features(user.features, self._config.buckets, self._config.user_tokens, self._ignored)
        self.tokens[row] = -1
        self.tokens[row, : len(tokens)] = tokens

    def clear(self, rows: NDArray[np.integer]) -> None:
        """Drop the features of deleted users."""
        self.barrier.before_write(rows)
        self.tokens[rows] = -1


def ids_of(catalogue: ItemTable | UserTable, rows: NDArray[np.int64]) -> list[str]:
    """Return the ids of `rows` (n,), empty where a row has none or has given it up."""
    ids = catalogue.table.ids.select(rows)
    if catalogue.admission is not None:
        for index in np.flatnonzero(catalogue.admission.seen[rows] < 0).tolist():
            ids[index] = ""
    return ids


def copy_ids(catalogue: ItemTable | UserTable) -> StringStore:
    """Copy all ids by row, empty where a row has none; the bytes are copied, no `str` is made."""
    vacant = np.zeros(0, np.int64) if catalogue.admission is None else catalogue.admission.vacant()
    return catalogue.table.ids.copy(without=vacant)
