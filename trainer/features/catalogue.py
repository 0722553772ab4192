"""Item and user tables: ids, content features and their hashed tokens, expiry and deletion."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from hsnn.streaming.schema.events import Feature, User
from hsnn.streaming.schema.item_life import NOT_KNOWN, KnownItem
from hsnn.trainer.config.catalogue import Authority
from hsnn.trainer.config.model import ModelConfig
from hsnn.trainer.features.hashing import hash_features
from hsnn.trainer.ids.admission import IdAdmission
from hsnn.trainer.ids.departed_records import DepartedRecords
from hsnn.trainer.messages import FeedItem
from hsnn.trainer.rowstore.arrays import Array, grown
from hsnn.trainer.rowstore.dirty_rows import DirtyRows
from hsnn.trainer.rowstore.id_table import IdTable
from hsnn.trainer.rowstore.string_store import StringStore
from hsnn.trainer.rowstore.write_barrier import WriteBarrier

_log = logging.getLogger(__name__)


class EventTimes(NamedTuple):
    """Times of the event that announced an item: event time, and wall time of sending (0 = unknown), epoch ms."""

    ts: int
    sent_at: int


class ItemTable:
    """Items by row: features, hashed tokens, and where in its life each is (`hsnn.streaming.schema.item_life`).

    Parameters
    ----------
    config
    authority
        Who may be recommended: ``announced`` or ``seen`` items; ``auto``: all that were seen until one is announced.

    Attributes
    ----------
    table : IdTable
    tokens : (rows, T) int32
        Hashed content features, -1 padded.
    expires_at, available_from : (rows,) int64
        Epoch ms; 0 = never, and at once.
    described_at : (rows,) int64
        A millisecond after the time of the last description or deletion, epoch ms, so that 0 = none.
    deleted : (rows,) bool
        Not to be recommended: deleted, or not announced where that counts.
    announced_only : bool
        Whether that counts by now.
    features : one mapping per row
    admission : IdAdmission or None
        Decides which ids get a row; None: every id does.
    departed : DepartedRecords or None
        What the ids that gave up their rows were announced as; None where none does.
    barrier : WriteBarrier
        Called before any of these is written.
    """

    def __init__(self, config: ModelConfig, authority: Authority = "auto") -> None:
        self._config, self._authority = config, authority
        self._ignored = frozenset(config.ignored_features)
        self.table = IdTable()
        self.tokens: NDArray[np.int32] = np.full((1024, config.item_tokens), -1, np.int32)
        self.expires_at: NDArray[np.int64] = np.zeros(1024, np.int64)
        self.available_from: NDArray[np.int64] = np.zeros(1024, np.int64)
        self.described_at: NDArray[np.int64] = np.zeros(1024, np.int64)
        self.deleted: NDArray[np.bool_] = np.zeros(1024, np.bool_)
        self.announced_only = authority == "announced"
        self.features: list[dict[str, Feature]] = []
        self.admission: IdAdmission | None = None
        self.departed: DepartedRecords | None = None
        self.barrier = WriteBarrier()

    def __len__(self) -> int:
        return len(self.table)

    def reserve(self, rows: int) -> None:
        """Make room for `rows` rows."""
        self.tokens = grown(self.tokens, rows, -1)
        self.expires_at, self.deleted = grown(self.expires_at, rows), grown(self.deleted, rows)
        self.available_from, self.described_at = grown(self.available_from, rows), grown(self.described_at, rows)

    def columns(self) -> dict[str, Array]:
        """Return the arrays in use by name."""
        return {
            "tokens": self.tokens,
            "expires_at": self.expires_at,
            "available_from": self.available_from,
            "described_at": self.described_at,
            "deleted": self.deleted,
        }

    def load_columns(self, columns: Mapping[str, Array]) -> None:
        """Continue from copies of a checkpoint's columns."""
        self.tokens = columns["tokens"].copy()
        self.expires_at = columns["expires_at"].copy()
        self.deleted = columns["deleted"].copy()
        # A checkpoint from before these were kept does not say which items were announced: all count as such.
        known = np.ones(len(self.deleted), np.int64)
        self.described_at = columns.get("described_at", known).copy()
        self.available_from = columns.get("available_from", 0 * known).copy()

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
        self.deleted[new] = self.announced_only
        self._restore(new)
        return rows, new

    def remember(self, rows: NDArray[np.int64]) -> None:
        """Remember what the items of `rows` (n,), which give them up, were announced as."""
        if self.departed is not None:
            known = rows[self.described_at[rows] > 0].tolist()
            records = ((row, self.record(row)) for row in known)
            self.departed.put(
                (self.table.ids[row], msgspec.msgpack.encode(record._replace(features=dict(record.features))))
                for row, record in records  # a deleted item's features are a view, which has no encoding
            )

    def _restore(self, rows: NDArray[np.int64]) -> None:
        """Give new `rows` (n,) what their ids were announced as before they left."""
        if self.departed is None or not len(self.departed):
            return
        for row in rows.tolist():
            blob = self.departed.pop(self.table.ids[row])
            if blob is not None:
                self.set_record(row, msgspec.msgpack.decode(blob, type=KnownItem))

    def clear(self, rows: NDArray[np.integer]) -> None:
        """Reset `rows` that no longer have an item; they stay deleted until they are assigned again."""
        self.barrier.before_write(rows)
        self.tokens[rows], self.expires_at[rows], self.available_from[rows], self.described_at[rows] = -1, 0, 0, 0
        for row in rows.tolist():
            self.features[row] = {}

    def record(self, row: int) -> KnownItem:
        """Return what is known of an item."""
        if self.described_at[row] == 0:
            return NOT_KNOWN
        if self.deleted[row]:
            return KnownItem(int(self.described_at[row]) - 1)
        ends = int(self.expires_at[row]), int(self.available_from[row])
        return KnownItem(int(self.described_at[row]) - 1, True, self.features[row], *ends)

    def set_record(self, row: int, record: KnownItem) -> None:
        """Store what is known of an item."""
        self.barrier.before_write(row)
        self.described_at[row], self.deleted[row] = record.ts + 1, not record.announced
        self.expires_at[row], self.available_from[row] = record.expires_at, record.available_from
        if not record.announced:
            return  # what was learned of its features stays until it is announced again
        self.features[row] = dict(record.features)
        tokens = hash_features(record.features, self._config.buckets, self._config.item_tokens, self._ignored)
        self.tokens[row] = -1
        self.tokens[row, : len(tokens)] = tokens

    def follow_authority(self, announced_only: bool) -> None:
        """Continue from a checkpoint, where only announced items counted or not, as configured now."""
        never_announced = np.flatnonzero(self.described_at[: len(self)] == 0)
        self.announced_only = announced_only if self._authority == "auto" else self._authority == "announced"
        if self.announced_only != announced_only:
            self.barrier.before_write(never_announced)
            self.deleted[never_announced] = self.announced_only

    def require_announcement(self) -> NDArray[np.int64]:
        """From the first announcement on, hold back what was never announced; return the rows (n,) of it."""
        if self.announced_only or self._authority != "auto":
            return np.zeros(0, np.int64)
        self.announced_only = True
        rows = np.flatnonzero((self.described_at[: len(self)] == 0) & ~self.deleted[: len(self)])
        self.delete(rows)
        return rows

    def report_held_back(self, rows: NDArray[np.int64]) -> None:
        """Warn of `rows` (n,) that were held back and that the items which came with the first one do not describe."""
        missing = int(np.count_nonzero(self.described_at[rows] == 0))
        if missing:
            _log.warning(
                "the items topic holds items: only announced ones are recommended from here on; %d of %d known ones "
                "are not; trainer.catalogue.authority = seen keeps those",
                missing,
                len(self),
            )

    def delete(self, rows: NDArray[np.int64]) -> None:
        """Mark items as not to be recommended."""
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
            available_from=int(self.available_from[row]),
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
    departed : DepartedRecords or None
        Tokens of the users that gave up their rows; None where none does.
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
        self.departed: DepartedRecords | None = None
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
            self._restore(given)
        self.reserve(len(self.table))
        return rows

    def remember(self, rows: NDArray[np.int64]) -> None:
        """Remember the features of the users of `rows` (n,), which give them up."""
        if self.departed is not None:
            known = rows[(self.tokens[rows] >= 0).any(axis=1)].tolist()
            self.departed.put((self.table.ids[row], self.tokens[row].tobytes()) for row in known)

    def forget(self, names: Sequence[str]) -> None:
        """Forget what is remembered of deleted users without a row."""
        if self.departed is not None:
            for name in names:
                self.departed.pop(name)

    def _restore(self, rows: NDArray[np.int64]) -> None:
        """Give new `rows` (n,) the features that their users had before they left."""
        if self.departed is None or not len(self.departed):
            return
        for row in rows.tolist():
            blob = self.departed.pop(self.table.ids[row])
            if blob is not None:
                self.barrier.before_write(row)
                self.tokens[row] = np.frombuffer(blob, np.int32)

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
