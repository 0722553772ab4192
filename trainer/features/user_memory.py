"""The memory of each user's past items: distinct, bounded, with what the user did with them.

Entries of all users lie in one array. A user has an extent of it, of 4, 8, 16, ... entries, up to the limit; one that
is outgrown goes to the free list of its size. So a user costs 13 bytes for the place and 11 per entry of the extent:
57 bytes with up to four items, 1.1 kB with the default limit of 100, as much again where all users grow at once and
nobody takes the extents that they leave. Measured: 69 bytes per user of globo-news, 834 of ml-100k.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from hsnn.trainer.messages import MEMORY_ENTRY_BYTES
from hsnn.trainer.rowstore.arrays import Array, grown, span_indices
from hsnn.trainer.rowstore.byte_strings import ByteStrings
from hsnn.trainer.rowstore.row_lists import RowLists
from hsnn.trainer.rowstore.write_barrier import WriteBarrier

ACTION_SLOTS = 7
"""Slots that actions are hashed to; the eighth bit of the flags is `DISLIKED`."""

_SALT = 662
"""Start of the actions' checksum: it gives click, view, cart, purchase, play, like and dislike slots of their own."""

DISLIKED = 0x80
"""The flag of an item whose newest feedback was a dislike."""

# Row of the item, seconds since 1970, engagements, and a bit by action with `DISLIKED`.
_ENTRY = np.dtype([("item", "<i4"), ("time", "<u4"), ("count", "<u2"), ("flags", "u1")])
assert _ENTRY.itemsize == MEMORY_ENTRY_BYTES

_OPAQUE = np.dtype((np.void, MEMORY_ENTRY_BYTES))
"""An entry as one item, which NumPy moves several times as fast as a record or a row of bytes."""

SECOND = 1000
"""Milliseconds per unit of the time of an entry: uint32 seconds reach from 1970 to 2106."""

_SMALLEST = 4
"""Entries of the smallest extent, 44 bytes: most users of a large stream have come back to few items."""

_CHUNK = 16_384
"""Users whose entries are searched at once for items that are gone: bounds the copy of their entries."""

Rows = NDArray[np.integer]


class MemoryEntries(NamedTuple):
    """Past items of n users, oldest first and padded in front, all (n, K).

    Attributes
    ----------
    items : int32
        Item rows, -1 where there is none.
    times : int64
        Last engagement, epoch ms; 0 where there is none.
    counts : int32
        Engagements, at most 65,535; 0 where there is none.
    flags : uint8
        Slots of the user's actions on the item (`action_slots`), and `DISLIKED`; 0 where there is none.
    """

    items: NDArray[np.int32]
    times: NDArray[np.int64]
    counts: NDArray[np.int32]
    flags: NDArray[np.uint8]

    @classmethod
    def empty(cls, users: int) -> MemoryEntries:
        """Make the entries of `users` users without any, (users, 0)."""
        blank = np.zeros((users, 0), np.int32)
        return cls(blank, blank.astype(np.int64), blank.copy(), blank.astype(np.uint8))

    def select(self, users: NDArray[np.integer] | slice) -> MemoryEntries:
        """Return those of some users, by their place."""
        items, times, counts, flags = self
        return MemoryEntries(items[users], times[users], counts[users], flags[users])


class UserMemory:
    """The last `limit` distinct items of each user, by row.

    Parameters
    ----------
    limit
        Items per user.
    keep_ms
        An item that the user did not come back to for so long is forgotten; None: never.
    rows
        Users that there is room for at first.

    Attributes
    ----------
    barrier : WriteBarrier

    Examples
    --------
    >>> memory = UserMemory(limit=2)
    >>> users, items, ts = np.zeros(4, np.int64), np.array([7, 8, 7, 9]), 1000 * np.arange(4)
    >>> memory.extend(users, items, ts, actions=np.array([1, 2, 4, 1], np.uint8), disliked=np.zeros(4, bool))
    >>> entries = memory.gather(np.array([0, -1]))
    >>> entries.items.tolist(), entries.counts[0].tolist(), entries.flags[0].tolist()
    ([[7, 9], [-1, -1]], [2, 1], [5, 1])
    """

    def __init__(self, limit: int, keep_ms: int | None = None, rows: int = 1024) -> None:
        self.limit, self.keep_ms = limit, keep_ms
        self.barrier = WriteBarrier()
        sizes = [_SMALLEST]
        while sizes[-1] < limit:
            sizes.append(min(2 * sizes[-1], limit))
        self._sizes = np.array([*sizes, 0])  # the last one is read by the size -1, of users without an extent
        self._free = RowLists(np.int64)  # extents that were left, by their size
        rows = max(rows, 1)  # the user -1 reads the last row
        self._starts: NDArray[np.int64] = np.zeros(rows, np.int64)
        self._lengths: NDArray[np.int32] = np.zeros(rows, np.int32)
        self._size_of: NDArray[np.int8] = np.full(rows, -1, np.int8)
        self._entries: NDArray[np.uint8] = np.zeros((1, MEMORY_ENTRY_BYTES), np.uint8)
        self._entries.view(_ENTRY)["item"] = -1  # the first entry is what padding reads
        self._used = 1

    @property
    def entries_reserved(self) -> int:
        """Entries in the extents of all users and on the free lists."""
        return self._used - 1

    def columns(self) -> dict[str, Array]:
        """Return no columns: the rows are of different lengths, and are read by `select`."""
        return {}

    def load_columns(self, columns: Mapping[str, Array]) -> None:
        """Do nothing: there are no columns."""

    def reserve(self, rows: int) -> None:
        """Make room for `rows` rows."""
        self._starts, self._lengths = grown(self._starts, rows), grown(self._lengths, rows)
        self._size_of = grown(self._size_of, rows, -1)

    def clear(self, rows: Rows) -> None:
        """Forget all of the users `rows` (n,)."""
        self.barrier.before_write(rows)
        rows = np.unique(rows)
        self._release(rows)
        self._lengths[rows], self._size_of[rows] = 0, -1

    def gather(self, users: Rows, now: NDArray[np.int64] | None = None) -> MemoryEntries:
        """Copy the entries of `users` (n,); the user -1 has none.

        With `now` (n,), epoch ms, what is to be forgotten by then is left out.
        """
        lengths = np.where(users >= 0, self._lengths[users], 0)
        width = int(lengths.max(initial=0))
        places = np.arange(width) - (width - lengths)[:, None]  # (n, K), from 0 where there are entries
        indices = np.where(places >= 0, self._starts[users][:, None] + places, 0)
        taken = self._take(indices)
        items, times = taken["item"].astype(np.int32), taken["time"].astype(np.int64) * SECOND
        entries = MemoryEntries(items, times, taken["count"].astype(np.int32), taken["flags"].copy())
        if now is None or self.keep_ms is None:
            return entries
        gone = times < (now - self.keep_ms)[:, None]
        items[gone] = -1
        for array in entries[1:]:
            array[gone] = 0
        return entries

    def entries_of(self, user: int) -> NDArray[Any]:
        """Return a view of the entries of one user, oldest first; the user -1 has none."""
        start, length = (int(self._starts[user]), int(self._lengths[user])) if user >= 0 else (0, 0)
        return self._entries[start : start + length].view(_ENTRY)[:, 0]

    def extend(
        self,
        users: Rows,
        items: Rows,
        ts: NDArray[np.int64],
        *,
        actions: NDArray[np.uint8],
        disliked: NDArray[np.bool_],
    ) -> None:
        """Append n events in order, with the slots of their actions; what is beyond the limit leaves after the last.

        An item that is known becomes the newest: its count rises, its time is the latest, its slots are added. The
        user -1 stands for users without a row: nothing is stored.
        """
        known = np.flatnonzero(users >= 0)
        if not len(known):
            return
        owners, new = _distinct(users[known], items[known], ts[known], actions=actions[known], disliked=disliked[known])
        self.barrier.before_write(owners)
        rows, first, owner = np.unique(owners, return_index=True, return_inverse=True)
        width = int(self._lengths[rows].max(initial=0))
        places = np.arange(width)
        old = self._take(np.where(places < self._lengths[rows][:, None], self._starts[rows][:, None] + places, 0))
        old_items = np.ascontiguousarray(old["item"])
        kept = old_items >= 0  # (u, K)
        if width:
            same = old_items.take(owner, axis=0) == new["item"][:, None]
            hit, at = np.flatnonzero(same.any(1)), same.argmax(1)
            _merge(new, hit, old[owner[hit], at[hit]])
            kept[owner[hit], at[hit]] = False
        if self.keep_ms is not None:
            latest = np.maximum(np.maximum.reduceat(new["time"], first), old["time"].max(1, initial=0))
            since = latest * np.int64(SECOND) - self.keep_ms
            kept &= old["time"] * np.int64(SECOND) >= since[:, None]
            stays = new["time"] * np.int64(SECOND) >= since[owner]
            new, owner = new[stays], owner[stays]
        stayed, added = np.count_nonzero(kept, 1), np.bincount(owner, minlength=len(rows))
        ends = np.cumsum(stayed + added)
        joined = np.empty(int(ends[-1]), _OPAQUE)
        is_new = np.zeros(len(joined), np.bool_)
        is_new[span_indices(ends - added, added)] = True
        joined[is_new] = new.view(_OPAQUE)
        joined[~is_new] = old.view(_OPAQUE)[kept]
        lengths = np.minimum(stayed + added, self.limit)
        self._put(rows, joined, ends - lengths, lengths)

    def remove_items(self, gone: NDArray[np.bool_]) -> NDArray[np.int64]:
        """Remove items from all users and return the rows that changed.

        `gone` is by item row, as in `hsnn.trainer.features.user_history.removed_mask`.
        """
        changed = []
        for start in range(0, len(self._lengths), _CHUNK):
            rows = np.arange(start, min(start + _CHUNK, len(self._lengths)))
            out = gone[self.select(rows).bytes.view(_ENTRY)["item"][:, 0]]
            changed.append(np.unique(np.repeat(rows, self._lengths[rows])[out]))
        rows = np.concatenate([*changed, np.zeros(0, np.int64)])
        self.barrier.before_write(rows)
        entries, lengths = self.select(rows)
        stays = ~gone[entries.view(_ENTRY)["item"][:, 0]]
        owner = np.repeat(np.arange(len(rows)), lengths)
        self.set_rows(
            rows, ByteStrings(entries[stays], np.bincount(owner[stays], minlength=len(rows)).astype(np.int32))
        )
        return rows

    def select(self, rows: Rows) -> ByteStrings:
        """Copy the entries of `rows` (n,) as they are sent and saved: (all, 11) bytes in order, and the length of each.

        An entry is, little-endian: item int32, time uint32 in epoch seconds, count uint16, flags uint8.
        """
        lengths = self._lengths[rows]
        return ByteStrings(
            self._entries.take(span_indices(self._starts[rows], lengths.astype(np.int64)), axis=0), lengths
        )

    def set_rows(self, rows: Rows, entries: ByteStrings) -> None:
        """Overwrite unique `rows` (n,) with entries that `select` returned; of too many the newest stay."""
        self.reserve(int(rows.max(initial=-1)) + 1)
        self.barrier.before_write(rows)
        lengths = np.minimum(entries.lengths, self.limit)
        opaque = np.ascontiguousarray(entries.bytes).view(_OPAQUE)[:, 0]
        self._put(rows, opaque, np.cumsum(entries.lengths, dtype=np.int64) - lengths, lengths)

    def _take(self, indices: NDArray[np.int64]) -> NDArray[Any]:
        """Copy entries, with the shape of their indices."""
        return self._entries.take(indices, axis=0).view(_ENTRY)[..., 0]

    def _put(self, rows: Rows, entries: NDArray[np.void], starts: NDArray[np.integer], lengths: Rows) -> None:
        """Overwrite unique `rows` (n,) with the spans of `entries` (all,) from `starts` of `lengths`, both (n,)."""
        sizes = self._sizes[self._size_of[rows]]
        outgrown = lengths > sizes
        if outgrown.any():
            self._release(rows[outgrown])
            self._assign(rows[outgrown], lengths[outgrown])
        self._lengths[rows] = lengths
        counts = lengths.astype(np.int64)
        target = self._entries.view(_OPAQUE)[:, 0]
        target[span_indices(self._starts[rows], counts)] = entries.take(span_indices(starts.astype(np.int64), counts))

    def _release(self, rows: Rows) -> None:
        """Put the extents of unique `rows` (n,) on the free lists; the rows still name them."""
        sizes = self._size_of[rows]
        for size in np.unique(sizes[sizes >= 0]).tolist():
            self._free.extend(size, self._starts[rows[sizes == size]])

    def _assign(self, rows: Rows, lengths: Rows) -> None:
        """Give unique `rows` (n,) extents of at least `lengths` (n,) entries."""
        sizes = np.searchsorted(self._sizes[:-1], lengths)
        self._size_of[rows] = sizes
        for size in np.unique(sizes).tolist():
            asking, room = rows[sizes == size], int(self._sizes[size])
            again = self._free.pop(size, len(asking))
            fresh = self._used + room * np.arange(len(asking) - len(again))
            self._used += room * len(fresh)
            self._starts[asking] = np.r_[again, fresh]
        self._entries = grown(self._entries, self._used)


def action_slots(actions: list[str]) -> NDArray[np.uint8]:
    """Return for each of n actions the bit of its slot among the flags, the same in every process.

    Examples
    --------
    >>> action_slots(["click", "buy", "click"]).tolist()
    [4, 16, 4]
    """
    bits = {action: 1 << crc32(action.encode(), _SALT) % ACTION_SLOTS for action in set(actions)}
    return np.fromiter((bits[action] for action in actions), np.uint8, len(actions))


def _distinct(
    users: Rows, items: Rows, ts: NDArray[np.int64], *, actions: NDArray[np.uint8], disliked: NDArray[np.bool_]
) -> tuple[NDArray[np.int64], NDArray[Any]]:
    """Make one entry per user and item of n events, ordered by user and by last event: users (p,), entries (p,)."""
    pairs = users.astype(np.int64) << 32 | items.astype(np.int64)
    order = np.argsort(pairs, kind="stable")
    pairs = pairs[order]
    starts = np.flatnonzero(np.r_[True, pairs[1:] != pairs[:-1]])
    last = order[np.r_[starts[1:], len(order)] - 1]
    new = np.empty(len(starts), _ENTRY)
    new["item"] = items[last]
    new["time"] = np.clip(np.maximum.reduceat(ts[order], starts) // SECOND, 0, np.iinfo(np.uint32).max)
    new["count"] = np.minimum(np.diff(np.r_[starts, len(order)]), np.iinfo(np.uint16).max)
    new["flags"] = np.bitwise_or.reduceat(actions[order], starts) & ~np.uint8(DISLIKED) | DISLIKED * disliked[last]
    owners = users[last].astype(np.int64)
    by_time = np.lexsort((last, owners))
    return owners[by_time], new[by_time]


def _merge(new: NDArray[Any], hit: NDArray[np.int64], old: NDArray[Any]) -> None:
    """Add what is known of the items of the new entries `hit` (m,), their `old` entries (m,); bit 7 is the newest's."""
    counts = new["count"][hit].astype(np.int64) + old["count"]
    new["count"][hit] = np.minimum(counts, np.iinfo(np.uint16).max)
    new["time"][hit] = np.maximum(new["time"][hit], old["time"])
    new["flags"][hit] |= old["flags"] & ~np.uint8(DISLIKED)
