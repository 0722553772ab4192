"""Recent sessions and an inverted index of them: what session-based nearest neighbours are found in.

A session is a user's events with gaps of at most 30 minutes. Memory is bounded: the newest sessions, the last items of
each, and of each item the sessions that had it most recently.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hsnn.evaluation.queries.hourly_sessions import SESSION_GAP
from hsnn.trainer.rowstore.arrays import grown

# Sessions that are kept, the newest: about a day and a half of a news site with 10,000 clicks an hour.
SESSIONS = 2**18

# Items kept of a session, the newest: few sessions of a site are longer, and one of hundreds says little.
SESSION_ITEMS = 32

# Sessions kept of an item, the newest: the nearest are sampled from the most recent ones, as both papers do.
SESSIONS_PER_ITEM = 500


class RecentSessions:
    """Sessions by number, in order of their beginning; an item counts once per session, where it was first.

    Examples
    --------
    >>> sessions = RecentSessions()
    >>> sessions.add(np.array([0, 1, 0, 0]), np.array([7, 8, 9, 7]), np.array([0, 1, 2, 10_000_000]))
    >>> sessions.of_item(7).tolist(), sessions.items(np.array([0])).tolist()[0][:3]
    ([2, 0], [7, 9, -1])
    """

    def __init__(self, sessions: int = SESSIONS, items: int = SESSION_ITEMS, per_item: int = SESSIONS_PER_ITEM) -> None:
        self._limit, self._width, self._per_item = sessions, items, per_item
        self._count = 0
        self._items: NDArray[np.int32] = np.full(
            (1024, items), -1, np.int32
        )  # a ring of sessions, each a ring of items
        self._lengths: NDArray[np.int64] = np.zeros(1024, np.int64)
        self._last: NDArray[np.int64] = np.zeros(1024, np.int64)  # time of the last event, epoch ms
        self._of_item: NDArray[np.int32] = np.full((1024, per_item), -1, np.int32)  # a ring per item
        self._item_counts: NDArray[np.int64] = np.zeros(1024, np.int64)
        self._of_user: NDArray[np.int64] = np.full(1024, -1, np.int64)
        self._user_last: NDArray[np.int64] = np.zeros(1024, np.int64)

    def add(self, users: NDArray[np.int64], items: NDArray[np.int64], ts: NDArray[np.int64]) -> None:
        """Add events (n,) in order of time; those of user -1 are left out."""
        order = np.argsort(users, kind="stable")
        order = order[users[order] >= 0]
        users, items, ts = users[order], items[order], ts[order]
        if not len(users):
            return
        self._of_user = grown(self._of_user, int(users[-1]) + 1, -1)
        self._user_last = grown(self._user_last, int(users[-1]) + 1)
        sessions = self._assign_sessions(users, ts, order)
        self._reserve(int(items.max()) + 1)
        new = self._first_of_item(sessions, items)
        sessions, items, ts, order = sessions[new], items[new], ts[new], order[new]
        slots = sessions % self._limit
        place = self._lengths[slots] + _occurrence(sessions)
        self._items[slots, place % self._width] = items
        np.maximum.at(self._lengths, slots, place + 1)
        by_item = np.lexsort((order, items))
        items, sessions = items[by_item], sessions[by_item]
        place = self._item_counts[items] + _occurrence(items)
        np.maximum.at(self._item_counts, items, place + 1)
        kept = place >= self._item_counts[items] - self._per_item
        self._of_item[items[kept], place[kept] % self._per_item] = sessions[kept]

    def _assign_sessions(
        self, users: NDArray[np.int64], ts: NDArray[np.int64], order: NDArray[np.int64]
    ) -> NDArray[np.int64]:
        """Assign a session number to each event; `users` (n,) are sorted, `order` (n,) is the order of the events."""
        first = np.r_[True, users[1:] != users[:-1]]
        before = np.where(first, self._user_last[users], np.r_[0, ts[:-1]])
        begins = (ts - before > SESSION_GAP) | (first & (self._of_user[users] < 0))
        # A session whose place in the ring was taken by another one is over, however recent its last event.
        begins |= first & (self._of_user[users] < self._count - self._limit)
        numbers = np.full(len(users), -1, np.int64)
        beginning = np.flatnonzero(begins)
        numbers[beginning[np.argsort(order[beginning])]] = self._count + np.arange(len(beginning))
        self._start_sessions(len(beginning))
        carried = first & ~begins
        numbers[carried] = self._of_user[users[carried]]
        known = np.maximum.accumulate(np.where(numbers >= 0, np.arange(len(users)), 0))
        sessions = numbers[known]
        last = np.r_[first[1:], True]
        self._of_user[users[last]], self._user_last[users[last]] = sessions[last], ts[last]
        self._last[sessions % self._limit] = ts  # sorted by user and time: the last of a session is written last
        return sessions

    def _start_sessions(self, count: int) -> None:
        rows = min(self._count + count, self._limit)
        self._items = grown(self._items, rows, -1)
        self._lengths, self._last = grown(self._lengths, rows), grown(self._last, rows)
        slots = np.arange(self._count, self._count + count) % self._limit
        self._items[slots], self._lengths[slots] = -1, 0
        self._count += count

    def _reserve(self, items: int) -> None:
        self._of_item = grown(self._of_item, items, -1)
        self._item_counts = grown(self._item_counts, items)

    def _first_of_item(self, sessions: NDArray[np.int64], items: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Mask (n,) of the events whose item is not in their session yet."""
        known = (self._items[sessions % self._limit] == items[:, None]).any(1)
        order = np.lexsort((items, sessions))
        repeated = np.zeros(len(items), np.bool_)
        again = (sessions[order][1:] == sessions[order][:-1]) & (items[order][1:] == items[order][:-1])
        repeated[order[1:][again]] = True
        new: NDArray[np.bool_] = ~(known | repeated)
        return new

    def of_item(self, item: int) -> NDArray[np.int64]:
        """Numbers (<= SESSIONS_PER_ITEM,) of the sessions that had an item, the most recent first."""
        if item >= len(self._item_counts):
            return np.zeros(0, np.int64)
        count = int(self._item_counts[item])
        places = np.arange(count - 1, max(count - self._per_item, 0) - 1, -1) % self._per_item
        sessions = self._of_item[item, places].astype(np.int64)
        kept: NDArray[np.int64] = sessions[sessions >= self._count - self._limit]
        return kept

    def items(self, sessions: NDArray[np.int64]) -> NDArray[np.int32]:
        """Items (n, SESSION_ITEMS) of sessions (n,), -1 padded, the oldest of a long session replaced."""
        return self._items[sessions % self._limit]

    def places(self, sessions: NDArray[np.int64]) -> NDArray[np.int64]:
        """Places (n, SESSION_ITEMS) of `items` in the order of each session, from 0; meaningless where it is -1."""
        columns, last = np.arange(self._width), self.lengths(sessions)[:, None] - 1
        if last.max(initial=0) < self._width:
            return np.broadcast_to(columns, (len(sessions), self._width))
        return columns + self._width * ((last - columns) // self._width)

    def lengths(self, sessions: NDArray[np.int64]) -> NDArray[np.int64]:
        """Numbers of distinct items (n,) of sessions (n,)."""
        return self._lengths[sessions % self._limit]

    def last_times(self, sessions: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the times (n,) of the last event of sessions (n,), epoch ms."""
        return self._last[sessions % self._limit]

    def of_user(self, user: int) -> int:
        """Return the number of a user's newest session, -1 if there is none."""
        return int(self._of_user[user]) if 0 <= user < len(self._of_user) else -1


def _occurrence(keys: NDArray[np.int64]) -> NDArray[np.int64]:
    """Count the equal keys before each, (n,); equal keys are neighbours."""
    starts = np.flatnonzero(np.r_[True, keys[1:] != keys[:-1]]) if len(keys) else np.zeros(0, np.int64)
    return np.arange(len(keys)) - np.repeat(starts, np.diff(np.r_[starts, len(keys)]))
