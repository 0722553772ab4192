"""Deduplicate merged rows: an event that was sent twice counts once."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hsnn.streaming.decode.event_table import EventTable, RowKind

MAX_KEYS = 1_000_000
"""Events that are remembered per kind, so that memory is bounded; beyond it the oldest are forgotten."""

# Bytes of a remembered event besides the characters of its key, on CPython 3.11: a text of ASCII (49), its place in a
# list (8), its watermark (8), and its entry in a dictionary (35 to 70, as full as that is).
_KEY_OVERHEAD = 115

# Between the parts of a key: a control character that ids do not hold in practice.
_SEPARATOR = "\x1f"

# Forgotten keys that may stay in the index before it is rebuilt, so that a short window does not rebuild it often.
_REBUILD_SLACK = 4096

_KINDS = (RowKind.INTERACTION, RowKind.IMPRESSION)


@dataclass(slots=True)
class _Chunk:
    """Events that were accepted together; `start` is the number of the first of them among all accepted events."""

    start: int
    keys: Sequence[str]
    watermarks: NDArray[np.int64]
    rows: dict[str, int] = field(default_factory=dict)

    def row(self, key: str) -> int:
        """Return the row of the last event with a key that is there."""
        # Few chunks are ever asked, those with duplicates: the index is made on the first question.
        if not self.rows:
            self.rows = {name: row for row, name in enumerate(self.keys)}
        return self.rows[key]


class SeenEvents:
    """Remembers the keys of events (`event_keys`) for some stream time.

    An event is a duplicate if the last event with its key was at most `window` ms of watermark ago. Events are asked
    for as they are merged, ahead of their delivery; the state holds delivered ones only.

    Examples
    --------
    >>> seen = SeenEvents(window=10)
    >>> seen.duplicates(["a", "b", "a"], np.array([1, 1, 11])).tolist()
    [False, False, True]
    >>> seen.duplicates(["a", "c"], np.array([12, 12]))[0].item()  # too long ago
    False
    """

    def __init__(self, window: int) -> None:
        self.window = window
        self._chunk_of: dict[str, int] = {}  # key -> number of the chunk that holds its last event
        self._chunks: dict[int, _Chunk] = {}  # oldest first
        self._next_chunk = 0
        self._accepted = self._delivered = 0  # events so far

    def duplicates(self, keys: Sequence[str], watermarks: NDArray[np.int64]) -> NDArray[np.bool_] | None:
        """Say which of n events, in order, are duplicates, (n,), or None for none; accept the others.

        `watermarks` (n,) are those after each event.
        """
        # Set operations decide the common case, no key seen before, without a loop in Python.
        chunk_of = dict.fromkeys(keys, self._next_chunk)
        if len(chunk_of) < len(keys) or not self._chunk_of.keys().isdisjoint(chunk_of):
            return self._one_by_one(keys, watermarks)
        self._accept(chunk_of, keys, watermarks)
        return None

    def deliver(self, events: int, watermark: int) -> None:
        """Count `events` more accepted events as delivered; forget those that are too old at the watermark."""
        self._delivered += events
        while self._chunks and self._is_expired(first := next(iter(self._chunks)), watermark):
            del self._chunks[first]
        oldest = next(iter(self._chunks.values())).start if self._chunks else self._accepted
        if len(self._chunk_of) > 2 * (self._accepted - oldest) + _REBUILD_SLACK:
            self._chunk_of = {name: number for number, chunk in self._chunks.items() for name in chunk.keys}

    def __len__(self) -> int:
        """Count the events that are remembered."""
        oldest = next(iter(self._chunks.values()), None)
        return 0 if oldest is None else self._accepted - oldest.start

    @property
    def nbytes(self) -> int:
        """Memory of the remembered events, bytes, about: keys are taken to be as long as those that came last."""
        newest = next(reversed(self._chunks.values()), None)
        if newest is None:
            return 0
        return round(len(self) * (_KEY_OVERHEAD + sum(map(len, newest.keys)) / len(newest.keys)))

    def deferred_state(self, watermark: int) -> Callable[[], list[list[Any]]]:
        """Note the delivered events that still count at the watermark.

        The returned function makes lists of them, keys and watermarks; in any thread, at any time: a chunk never
        changes.
        """
        return partial(_columns, [(chunk, self._remembered(chunk, watermark)) for chunk in self._chunks.values()])

    def _remembered(self, chunk: _Chunk, watermark: int) -> slice:
        oldest = int(np.searchsorted(chunk.watermarks, watermark - self.window))
        first = max(oldest, self._delivered - MAX_KEYS - chunk.start, 0)
        return slice(first, max(self._delivered - chunk.start, 0))

    def load_state(self, state: Sequence[Sequence[Any]]) -> None:
        """Restore what the function returned by `deferred_state` gave."""
        if len(state) != 2:  # from before items and actions counted: nothing can be told from these ids
            state = [[], []]
        keys, watermarks = state
        self._chunk_of, self._chunks, self._accepted = {}, {}, 0
        self._accept(dict.fromkeys(keys, self._next_chunk), keys, np.array(watermarks, np.int64))
        self._delivered = self._accepted

    def _accept(self, chunk_of: Mapping[str, int], keys: Sequence[str], watermarks: NDArray[np.int64]) -> None:
        if keys:
            self._chunk_of.update(chunk_of)
            self._chunks[self._next_chunk] = _Chunk(self._accepted, keys, watermarks)
            self._next_chunk += 1
            self._accepted += len(keys)

    def _one_by_one(self, keys: Sequence[str], watermarks: NDArray[np.int64]) -> NDArray[np.bool_]:
        duplicate = np.zeros(len(keys), np.bool_)
        kept: list[int] = []
        kept_at: dict[str, int] = {}  # key -> its last index in `kept`
        for i, (key, watermark) in enumerate(zip(keys, watermarks.tolist(), strict=True)):
            if key in kept_at:
                last: tuple[int, int] | None = int(watermarks[kept[kept_at[key]]]), self._accepted + kept_at[key]
            else:
                last = self._last(key)
            if last is not None:
                last_watermark, number = last
                recent = watermark - last_watermark <= self.window and self._accepted + len(kept) - number <= MAX_KEYS
                duplicate[i] = recent
            if not duplicate[i]:
                kept_at[key] = len(kept)
                kept.append(i)
        chunk_of = dict.fromkeys(kept_at, self._next_chunk)
        self._accept(chunk_of, [keys[i] for i in kept], watermarks[kept])
        return duplicate

    def _last(self, key: str) -> tuple[int, int] | None:
        """Return watermark and number of the last event with a key; None if it is not remembered."""
        chunk = self._chunks.get(self._chunk_of.get(key, -1))
        if chunk is None:
            return None
        row = chunk.row(key)
        return int(chunk.watermarks[row]), chunk.start + row

    def _is_expired(self, number: int, watermark: int) -> bool:
        chunk = self._chunks[number]
        end = chunk.start + len(chunk.keys)
        old = int(chunk.watermarks[-1]) < watermark - self.window or end <= self._delivered - MAX_KEYS
        return old and end <= self._delivered


def _columns(chunks: Sequence[tuple[_Chunk, slice]]) -> list[list[Any]]:
    columns: list[list[Any]] = [[], []]
    for chunk, part in chunks:
        for column, more in zip(columns, (chunk.keys[part], chunk.watermarks[part].tolist()), strict=True):
            column += more
    return columns


def event_keys(rows: EventTable, kind: RowKind) -> list[str]:
    """Return what makes each of the engagements, all of one kind and with an id, the same event as another, n texts.

    Id, user, item and action of an interaction: the lines of an order may share its number. Id, user and items of an
    impression.
    """
    ids, users = rows.event_id.tolist(), rows.user.tolist()
    if kind is RowKind.IMPRESSION:
        shown = [_SEPARATOR.join(map(str, event.items)) for event in rows.payload.tolist()]
        return list(map(_SEPARATOR.join, zip(ids, users, shown, strict=True)))
    return list(map(_SEPARATOR.join, zip(ids, users, rows.item.tolist(), rows.action.tolist(), strict=True)))


class Deduplicator:
    """Finds engagements that were seen within `window` ms of stream time, interactions and impressions apart.

    Rows are marked as they are merged and become part of the state as they are delivered; those in between are merged
    again after a restart. Events without id are never duplicates. A window of 0 finds none.
    """

    def __init__(self, window: int) -> None:
        self._window = window
        self._some_without_id = False  # whether an event without id was met
        self._seen = {kind: SeenEvents(window) for kind in _KINDS}

    def __len__(self) -> int:
        """Count the events that are remembered."""
        return sum(map(len, self._seen.values()))

    @property
    def nbytes(self) -> int:
        """Memory of the remembered events, bytes, about."""
        return sum(seen.nbytes for seen in self._seen.values())

    def mark(self, rows: EventTable) -> None:
        """Turn the duplicates among the rows merged next into rows of kind `DUPLICATE`."""
        if self._window:
            for kind, selected in _rows_by_kind(rows):
                self._mark(rows, kind, selected)

    def _mark(self, rows: EventTable, kind: RowKind, selected: Any) -> None:
        ids = rows.event_id[selected].tolist()
        if None in ids:
            self._some_without_id = True
            selected = np.arange(len(rows))[selected][np.array([name is not None for name in ids])]
        keys = event_keys(rows[selected], kind)
        duplicate = self._seen[kind].duplicates(keys, rows.watermark[selected].copy())
        if duplicate is not None:
            rows.kind[np.arange(len(rows))[selected][duplicate]] = RowKind.DUPLICATE

    def deliver(self, rows: EventTable, watermark: int) -> None:
        """Note that rows were delivered, after which the watermark is `watermark`."""
        if self._window:
            kinds = rows.kind
            if self._some_without_id:
                kinds = kinds[rows.event_id != None]  # noqa: E711 - element by element
            for kind, seen in self._seen.items():
                seen.deliver(int(np.count_nonzero(kinds == int(kind))), watermark)

    def deferred_state(self, watermark: int) -> Callable[[], list[list[list[Any]]]]:
        """Note the delivered events that still count at the watermark; the returned function makes lists of them."""
        captured = [seen.deferred_state(watermark) for seen in self._seen.values()]
        return lambda: [columns() for columns in captured]

    def load_state(self, state: list[list[list[Any]]]) -> None:
        """Restore what the function returned by `deferred_state` gave."""
        for seen, columns in zip(self._seen.values(), state, strict=True):
            seen.load_state(columns)


def _rows_by_kind(rows: EventTable) -> list[tuple[RowKind, slice | NDArray[np.intp]]]:
    """Select the interactions and the impressions, where there are any."""
    if not rows.kind.any():  # interactions only, the common case: kind 0
        return [(RowKind.INTERACTION, slice(None))]
    return [(kind, rows_of) for kind in _KINDS if len(rows_of := np.flatnonzero(rows.kind == kind))]
