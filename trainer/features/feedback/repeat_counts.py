"""Counts of a user's repeats, so that no single user decides what everybody else sees.

A table of fixed size by the hash of (user, item, action). Two that share a place forget each other's count, and count
in full again.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hsnn.trainer.features.user_history import removed_mask
from hsnn.trainer.rowstore.arrays import Array
from hsnn.trainer.rowstore.write_barrier import WriteBarrier

PLACES = 1 << 17
"""Places of the table, 28 bytes each: as many pairs as are in use within some half-lives on a busy stream."""

# Milliseconds in which a count falls to a half: what comes back on another day is no repeat but a habit.
_HALF_LIFE = 86_400_000.0

# Odd multiplier of Fibonacci hashing, 2^64 / golden ratio: neighbouring rows get places far apart.
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)

# Codes of actions that a key has room for; see `hsnn.trainer.features.feedback.actions`.
_CODES = 4096


class Engagement(NamedTuple):
    """Engagements (n,) as columns, all int64.

    `users` are rows, or numbers below -1 that stand for users without one; `items` are rows; `codes` are those of the
    actions, 0 to 4095; `ts` is in epoch ms.
    """

    users: NDArray[np.int64]
    items: NDArray[np.int64]
    codes: NDArray[np.int64]
    ts: NDArray[np.int64]


class RepeatCounts:
    """How often each user did the same with an item within about a day.

    Attributes
    ----------
    users : (P,) int64
        User rows; -1 where a place is free.
    keys : (P,) int64
        Item row times 4096, and the code of the action.
    counts : (P,) float32
        Decayed counts, as of `last`.
    last : (P,) int64
        Epoch ms.
    barrier : WriteBarrier

    Examples
    --------
    >>> one = np.ones(6, np.int64)
    >>> RepeatCounts().count(Engagement(one, one, one, one))[0].round(3).tolist()
    [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]
    """

    def __init__(self, places: int = PLACES) -> None:
        self.users: NDArray[np.int64] = np.full(places, -1, np.int64)
        self.keys: NDArray[np.int64] = np.zeros(places, np.int64)
        self.counts: NDArray[np.float32] = np.zeros(places, np.float32)
        self.last: NDArray[np.int64] = np.zeros(places, np.int64)
        self.barrier = WriteBarrier()

    def columns(self) -> dict[str, Array]:
        """Return the arrays in use by name."""
        return {"users": self.users, "keys": self.keys, "counts": self.counts, "last": self.last}

    def load_columns(self, columns: Mapping[str, Array]) -> None:
        """Continue from copies of a checkpoint's columns."""
        self.users, self.keys = columns["users"].copy(), columns["keys"].copy()
        self.counts, self.last = columns["counts"].copy(), columns["last"].copy()

    def count(self, events: Engagement) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Count engagements (n,) in order, and return how often each was counted before, (n,).

        Both decayed over all time, and in this call alone. Those of one call are not decayed against each other: a
        batch is short.
        """
        users, keys, ts = events.users, events.items * _CODES + events.codes, events.ts
        places = self._places(users, keys)
        same = (self.users[places] == users) & (self.keys[places] == keys)
        idle = np.maximum(ts - self.last[places], 0)
        within = _occurrences(users, keys)
        before = np.where(same, self.counts[places] * np.exp2(-idle / _HALF_LIFE), 0.0) + within
        self.barrier.before_write(np.unique(places))
        self.last[places] = np.where(same, np.maximum(ts, self.last[places]), ts)
        self.counts[places] = before + 1  # of several writes to a place the last one stays, in every column
        self.users[places], self.keys[places] = users, keys
        return before.astype(np.float32), within

    def forget_users(self, rows: NDArray[np.int64]) -> None:
        """Erase users (n,)."""
        self._clear(np.flatnonzero(np.isin(self.users, rows)))

    def remove_items(self, gone: NDArray[np.bool_]) -> None:
        """Erase items; see `user_history.removed_mask`."""
        used = np.flatnonzero(self.users != -1)
        self._clear(used[removed_mask(self.keys[used] // _CODES, gone)])

    def _clear(self, places: NDArray[np.int64]) -> None:
        self.barrier.before_write(places)
        self.users[places], self.keys[places], self.counts[places], self.last[places] = -1, 0, 0, 0

    def _places(self, users: NDArray[np.int64], keys: NDArray[np.int64]) -> NDArray[np.int64]:
        mixed = users.astype(np.uint64) * _GOLDEN + keys.astype(np.uint64)
        mixed = (mixed ^ (mixed >> np.uint64(29))) * _GOLDEN
        places: NDArray[np.int64] = (mixed >> np.uint64(33)).astype(np.int64) % len(self.users)
        return places


def _occurrences(users: NDArray[np.int64], keys: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return how many events before each of n have the same user and key, (n,).

    Examples
    --------
    >>> _occurrences(np.array([4, 7, 4, 4]), np.array([1, 1, 1, 2])).tolist()
    [0, 0, 1, 0]
    """
    order = np.lexsort((keys, users))  # stable: equal pairs stay in order
    if not len(order):
        return order
    ordered = users[order], keys[order]
    starts = np.flatnonzero(np.r_[True, (ordered[0][1:] != ordered[0][:-1]) | (ordered[1][1:] != ordered[1][:-1])])
    occurrence = np.empty(len(order), np.int64)
    occurrence[order] = np.arange(len(order)) - np.repeat(starts, np.diff(np.r_[starts, len(order)]))
    return occurrence
