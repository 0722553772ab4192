"""Duplicates among merged rows: the same event sent twice counts once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hsnn.streaming.consumer.seen_ids import Seen
from hsnn.streaming.decode.rows import ID, KIND, MARK, USER, Kind, Rows

_KINDS = (Kind.INTERACTION, Kind.IMPRESSION)


class Dedup:
    """Finds the engagements whose id was there within `window` ms of stream time, interactions and impressions apart.

    Rows are marked as they are merged and become part of the state as they are delivered; what is in between is merged
    again after a restart. Events without id are never duplicates. A window of 0 finds none.
    """

    def __init__(self, window: int) -> None:
        self._window = window
        self._gaps = False  # whether an event without id was met
        self._seen = {kind: Seen(window) for kind in _KINDS}

    def mark(self, rows: Rows) -> None:
        """Turn the duplicates among rows merged next into rows of kind `DUPLICATE`."""
        if self._window:
            for kind, at in _by_kind(rows):
                self._mark(rows, self._seen[kind], at)

    def _mark(self, rows: Rows, seen: Seen, at: Any) -> None:
        ids = rows.objects[ID, at].tolist()
        if None in ids:
            self._gaps = True
            at = np.arange(len(rows))[at][np.array([name is not None for name in ids])]
            ids = rows.objects[ID, at].tolist()
        found = seen.duplicates(ids, rows.objects[USER, at].tolist(), rows.numbers[MARK, at].copy())
        if found is not None:
            rows.numbers[KIND, np.arange(len(rows))[at][found]] = Kind.DUPLICATE

    def deliver(self, rows: Rows, mark: int) -> None:
        """Note that rows were delivered, after which the watermark is `mark`."""
        if self._window:
            kinds = rows.column(KIND)
            if self._gaps:
                kinds = kinds[rows.objects[ID] != None]  # noqa: E711 - element by element
            for kind, seen in self._seen.items():
                seen.deliver(int(np.count_nonzero(kinds == int(kind))), mark)

    def frozen(self, mark: int) -> Callable[[], list[list[list[Any]]]]:
        """Note what was delivered and still counts at the watermark `mark`; called, it becomes plain values."""
        noted = [seen.frozen(mark) for seen in self._seen.values()]
        return lambda: [one() for one in noted]

    def restore(self, state: list[list[list[Any]]]) -> None:
        """Go on from what was `frozen`."""
        for seen, one in zip(self._seen.values(), state, strict=True):
            seen.restore(one)


def _by_kind(rows: Rows) -> list[tuple[Kind, slice | NDArray[np.intp]]]:
    """Interactions and impressions, where there are any."""
    kinds = rows.column(KIND)
    if not kinds.any():
        return [(Kind.INTERACTION, slice(None))]
    return [(kind, at) for kind in _KINDS if len(at := np.flatnonzero(kinds == kind))]
