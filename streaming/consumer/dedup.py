"""Duplicates among merged rows: the same event sent twice counts once."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hsnn.streaming.decode.rows import ID, KIND, MARK, USER, RowKind, Rows

MAX_IDS = 1_000_000
"""Ids that are remembered at most; beyond it the oldest are forgotten."""

_SLACK = 4096

_KINDS = (RowKind.INTERACTION, RowKind.IMPRESSION)


@dataclass(slots=True)
class _Chunk:
    """Events that were accepted together; `start` is the number of the first among all."""

    start: int
    ids: Sequence[str]
    users: Sequence[str]
    marks: NDArray[np.int64]
    places: dict[str, int] = field(default_factory=dict)

    def place(self, name: str) -> int:
        """Row of the last event with this id, which is there; seldom asked for, so found when it is."""
        if not self.places:
            self.places = {name: at for at, name in enumerate(self.ids)}
        return self.places[name]


class SeenIds:
    """Remembers ids for a stretch of stream time.

    An event is a duplicate if the last event with its id was of the same user and at most `window` ms of watermark
    ago. Asking runs ahead of delivering: `frozen` knows what was delivered alone.

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
        self._in: dict[str, int] = {}  # id -> number of the chunk that holds its last event
        self._chunks: dict[int, _Chunk] = {}  # oldest first
        self._opened = self._next = self._delivered = 0

    def duplicates(
        self, ids: Sequence[str], users: Sequence[str], marks: NDArray[np.int64]
    ) -> NDArray[np.bool_] | None:
        """Say of n events in order which are duplicates, None for none; `marks` (n,) are the watermarks after each."""
        fresh = dict.fromkeys(ids, self._opened)
        if len(fresh) < len(ids) or not self._in.keys().isdisjoint(fresh):
            return self._one_by_one(ids, users, marks)
        self._accept(fresh, ids, users, marks)
        return None

    def deliver(self, events: int, mark: int) -> None:
        """Note that so many accepted events were delivered; forget what is too old at the watermark `mark`."""
        self._delivered += events
        while self._chunks and self._dead(first := next(iter(self._chunks)), mark):
            del self._chunks[first]
        oldest = next(iter(self._chunks.values())).start if self._chunks else self._next
        if len(self._in) > 2 * (self._next - oldest) + _SLACK:
            self._in = {name: number for number, chunk in self._chunks.items() for name in chunk.ids}

    def capture_state(self, mark: int) -> Callable[[], list[list[Any]]]:
        """Note what was delivered and still counts at the watermark `mark`.

        The call of what is returned makes plain values of it, ids, users and watermarks; in any thread, at any time.
        """
        return partial(_columns, [(chunk, self._counting(chunk, mark)) for chunk in self._chunks.values()])

    def _counting(self, chunk: _Chunk, mark: int) -> slice:
        first = max(int(np.searchsorted(chunk.marks, mark - self.window)), self._delivered - MAX_IDS - chunk.start, 0)
        return slice(first, max(self._delivered - chunk.start, 0))

    def load_state_dict(self, state: Sequence[Sequence[Any]]) -> None:
        """Go on from what was `frozen`."""
        ids, users, marks = state
        self._in, self._chunks, self._next = {}, {}, 0
        self._accept(dict.fromkeys(ids, self._opened), ids, users, np.array(marks, np.int64))
        self._delivered = self._next

    def _accept(
        self, fresh: Mapping[str, int], ids: Sequence[str], users: Sequence[str], marks: NDArray[np.int64]
    ) -> None:
        if ids:
            self._in.update(fresh)
            self._chunks[self._opened] = _Chunk(self._next, ids, users, marks)
            self._opened += 1
            self._next += len(ids)

    def _one_by_one(self, ids: Sequence[str], users: Sequence[str], marks: NDArray[np.int64]) -> NDArray[np.bool_]:
        found = np.zeros(len(ids), np.bool_)
        kept: list[int] = []
        own: dict[str, int] = {}  # id -> its last place in `kept`
        for at, (name, user, mark) in enumerate(zip(ids, users, marks.tolist(), strict=True)):
            if name in own:
                row = kept[own[name]]
                last = users[row], int(marks[row]), self._next + own[name]
            else:
                last = self._last(name)
            found[at] = (
                last[0] == user and mark - last[1] <= self.window and self._next + len(kept) - last[2] <= MAX_IDS
            )
            if not found[at]:
                own[name] = len(kept)
                kept.append(at)
        fresh = dict.fromkeys(own, self._opened)
        self._accept(fresh, [ids[at] for at in kept], [users[at] for at in kept], marks[kept])
        return found

    def _last(self, name: str) -> tuple[str, int, int]:
        """User, watermark and number of the last event with this id; no user if it is forgotten."""
        chunk = self._chunks.get(self._in.get(name, -1))
        if chunk is None:
            return "", 0, 0
        row = chunk.place(name)
        return chunk.users[row], int(chunk.marks[row]), chunk.start + row

    def _dead(self, number: int, mark: int) -> bool:
        chunk = self._chunks[number]
        end = chunk.start + len(chunk.ids)
        old = int(chunk.marks[-1]) < mark - self.window or end <= self._delivered - MAX_IDS
        return old and end <= self._delivered


def _columns(chunks: Sequence[tuple[_Chunk, slice]]) -> list[list[Any]]:
    out: list[list[Any]] = [[], [], []]
    for chunk, part in chunks:  # which is never written to
        for column, values in zip(out, (chunk.ids[part], chunk.users[part], chunk.marks[part].tolist()), strict=True):
            column += values
    return out


class Deduplicator:
    """Finds the engagements whose id was there within `window` ms of stream time, interactions and impressions apart.

    Rows are marked as they are merged and become part of the state as they are delivered; what is in between is merged
    again after a restart. Events without id are never duplicates. A window of 0 finds none.
    """

    def __init__(self, window: int) -> None:
        self._window = window
        self._gaps = False  # whether an event without id was met
        self._seen = {kind: SeenIds(window) for kind in _KINDS}

    def mark(self, rows: Rows) -> None:
        """Turn the duplicates among rows merged next into rows of kind `DUPLICATE`."""
        if self._window:
            for kind, at in _by_kind(rows):
                self._mark(rows, self._seen[kind], at)

    def _mark(self, rows: Rows, seen: SeenIds, at: Any) -> None:
        ids = rows.objects[ID, at].tolist()
        if None in ids:
            self._gaps = True
            at = np.arange(len(rows))[at][np.array([name is not None for name in ids])]
            ids = rows.objects[ID, at].tolist()
        found = seen.duplicates(ids, rows.objects[USER, at].tolist(), rows.numbers[MARK, at].copy())
        if found is not None:
            rows.numbers[KIND, np.arange(len(rows))[at][found]] = RowKind.DUPLICATE

    def deliver(self, rows: Rows, mark: int) -> None:
        """Note that rows were delivered, after which the watermark is `mark`."""
        if self._window:
            kinds = rows.column(KIND)
            if self._gaps:
                kinds = kinds[rows.objects[ID] != None]  # noqa: E711 - element by element
            for kind, seen in self._seen.items():
                seen.deliver(int(np.count_nonzero(kinds == int(kind))), mark)

    def capture_state(self, mark: int) -> Callable[[], list[list[list[Any]]]]:
        """Note what was delivered and still counts at the watermark `mark`; called, it becomes plain values."""
        noted = [seen.capture_state(mark) for seen in self._seen.values()]
        return lambda: [one() for one in noted]

    def load_state_dict(self, state: list[list[list[Any]]]) -> None:
        """Go on from what was `frozen`."""
        for seen, one in zip(self._seen.values(), state, strict=True):
            seen.load_state_dict(one)


def _by_kind(rows: Rows) -> list[tuple[RowKind, slice | NDArray[np.intp]]]:
    """Interactions and impressions, where there are any."""
    kinds = rows.column(KIND)
    if not kinds.any():
        return [(RowKind.INTERACTION, slice(None))]
    return [(kind, at) for kind in _KINDS if len(at := np.flatnonzero(kinds == kind))]
