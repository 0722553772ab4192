"""Ids of events that went by lately: whoever comes again within the window is a duplicate."""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from collections.abc import Sequence
from itertools import count
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

MOST = 1_000_000
"""Ids that are remembered at most; beyond it the oldest are forgotten."""

_SLACK = 4096


class _Chunk(NamedTuple):
    start: int
    ids: Sequence[str]
    users: Sequence[str]
    marks: NDArray[np.int64]


class Seen:
    """Remembers ids for a stretch of stream time.

    An event is a duplicate if the last event with its id was of the same user and at most `window` ms of watermark
    ago. Asking runs ahead of delivering: `state` knows what was delivered alone.

    Examples
    --------
    >>> seen = Seen(window=10)
    >>> seen.duplicates(["a", "b", "a"], ["u", "u", "u"], np.array([1, 1, 11])).tolist()
    [False, False, True]
    >>> seen.duplicates(["a", "b"], ["u", "v"], np.array([12, 12])).tolist()  # too long ago, and somebody else's
    [False, False]
    """

    def __init__(self, window: int) -> None:
        self.window = window
        self._at: dict[str, int] = {}  # id -> number of the event among all that were accepted
        self._chunks: deque[_Chunk] = deque()
        self._next = self._delivered = 0

    def duplicates(
        self, ids: Sequence[str], users: Sequence[str], marks: NDArray[np.int64]
    ) -> NDArray[np.bool_] | None:
        """Say of n events in order which are duplicates, None for none; `marks` (n,) are the watermarks after each."""
        fresh = dict(zip(ids, count(self._next)))
        if len(fresh) == len(ids) and self._at.keys().isdisjoint(fresh):
            self._at.update(fresh)
            self._accept(ids, users, marks)
            return None
        return self._one_by_one(ids, users, marks)

    def deliver(self, events: int, mark: int) -> None:
        """Note that so many accepted events were delivered; forget what is too old at the watermark `mark`."""
        self._delivered += events
        while self._chunks and self._dead(self._chunks[0], mark):
            self._chunks.popleft()
        kept = self._next - (self._chunks[0].start if self._chunks else self._next)
        if len(self._at) > 2 * kept + _SLACK:
            self._at = {name: chunk.start + at for chunk in self._chunks for at, name in enumerate(chunk.ids)}

    def state(self, mark: int) -> list[list[Any]]:
        """Ids, users and watermarks of what was delivered and still counts at the watermark `mark`."""
        out: list[list[Any]] = [[], [], []]
        for chunk in self._chunks:
            first = max(int(np.searchsorted(chunk.marks, mark - self.window)), self._delivered - MOST - chunk.start, 0)
            part = slice(first, max(self._delivered - chunk.start, 0))
            for column, values in zip(out, (chunk.ids, chunk.users, chunk.marks.tolist()), strict=True):
                column += values[part]
        return out

    def restore(self, state: Sequence[Sequence[Any]]) -> None:
        """Go on from what `state` gave."""
        ids, users, marks = state
        self._at = dict(zip(ids, count()))
        self._chunks.clear()
        self._next = 0
        self._accept(list(ids), list(users), np.array(marks, np.int64))
        self._delivered = self._next

    def _accept(self, ids: Sequence[str], users: Sequence[str], marks: NDArray[np.int64]) -> None:
        if ids:
            self._chunks.append(_Chunk(self._next, ids, users, marks))
            self._next += len(ids)

    def _one_by_one(self, ids: Sequence[str], users: Sequence[str], marks: NDArray[np.int64]) -> NDArray[np.bool_]:
        found = np.zeros(len(ids), np.bool_)
        starts = [chunk.start for chunk in self._chunks]
        kept: list[int] = []
        for at, (name, user, mark) in enumerate(zip(ids, users, marks.tolist(), strict=True)):
            number = self._at.get(name, -1)
            if number >= self._next:
                before = kept[number - self._next]
                recent = mark - int(marks[before]) <= self.window and self._next + len(kept) - number <= MOST
                found[at] = recent and users[before] == user
            elif starts and number >= starts[0]:
                found[at] = self._recent(number, starts, user, mark, self._next + len(kept))
            if not found[at]:
                self._at[name] = self._next + len(kept)
                kept.append(at)
        self._accept([ids[at] for at in kept], [users[at] for at in kept], marks[kept])
        return found

    def _recent(self, number: int, starts: list[int], user: str, mark: int, now: int) -> bool:
        chunk = self._chunks[bisect_right(starts, number) - 1]
        at = number - chunk.start
        return chunk.users[at] == user and mark - int(chunk.marks[at]) <= self.window and now - number <= MOST

    def _dead(self, chunk: _Chunk, mark: int) -> bool:
        end = chunk.start + len(chunk.ids)
        old = int(chunk.marks[-1]) < mark - self.window or end <= self._delivered - MOST
        return old and end <= self._delivered
