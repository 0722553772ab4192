"""Request filters as masks over rows, so that the budget is spent on allowed items only."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hsnn.serving.errors import RequestError
from hsnn.serving.mirror.mirror import EpochState
from hsnn.serving.schema import Request
from hsnn.serving.search.queries import given_history
from hsnn.trainer.features.exclusion import excluded_items
from hsnn.trainer.features.queries import QueryArrays
from hsnn.trainer.features.user_memory import MemoryEntries

# A feature filter that leaves at most this many times the budget is searched without the beam: choosing the best of so
# few rows is cheaper than opening nodes, and a beam could miss most of them.
_DIRECT_BUDGETS = 16

MOST_GIVEN = 256
"""Last items of a request's own history that are looked at: more than a session has."""


class AllowedRows(NamedTuple):
    """Rows that may be returned to a request.

    Attributes
    ----------
    mask : (rows,) bool
        Rows allowed by everything but an allow-list. Valid until the next request: the buffer is reused.
    rows : (n,) int64 or None
        The allowed rows, if they are so few that no beam is needed to find them.
    size : int
        Number of allowed rows.
    """

    mask: NDArray[np.bool_]
    rows: NDArray[np.int64] | None
    size: int

    def all_rows(self) -> NDArray[np.int64]:
        """List every allowed row, (n,)."""
        return np.flatnonzero(self.mask) if self.rows is None else self.rows

    def full_mask(self) -> NDArray[np.bool_]:
        """Mask of the allowed rows, (rows,) bool; unlike `mask` it respects an allow-list."""
        if self.rows is None:
            return self.mask
        mask = np.zeros_like(self.mask)
        mask[self.rows] = True
        return mask


def excluded_rows(
    state: EpochState, requests: Sequence[Request], queries: QueryArrays, memory: MemoryEntries
) -> NDArray[np.int32]:
    """Return the rows (n, E) of past items that are left out for n requests, -1 padded.

    What is remembered of the users, `memory`, counts beside the history, be this the mirrored one or the request's.
    """
    items, times = _whole_histories(state, requests, queries)
    return excluded_items(state.exclusion, items, times, memory=memory, now=queries.now)


def _whole_histories(
    state: EpochState, requests: Sequence[Request], queries: QueryArrays
) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Return rows and times (n, >= L) of the histories: of those that requests bring, more than the model uses."""
    items, times = queries.history_items, queries.history_times
    counts = [len(request.history or ()) for request in requests]
    length, longest = items.shape[1], min(max(counts, default=0), MOST_GIVEN)
    if longest <= length:
        return items, times
    front = ((0, 0), (longest - length, 0))
    items, times = np.pad(items, front, constant_values=-1), np.pad(times, front)
    for number, (request, count) in enumerate(zip(requests, counts, strict=True)):
        if count > length:
            items[number], times[number] = given_history(state, request, now=int(queries.now[number]), length=longest)
    return items, times


def allowed_rows(state: EpochState, request: Request, excluded: NDArray[np.integer], budget: int) -> AllowedRows:
    """Apply filters, expiry and exclusion: rows that may be returned to a request.

    `excluded` (E,) holds the rows of the user's past items that are left out, beside those that the request lists.

    Raises
    ------
    RequestError
        A feature filter names a feature that no item has.
    """
    ids = state.items.ids
    forbidden = np.unique(np.concatenate([excluded, ids.rows(request.filters.exclude)]))
    mask, size = state.alive_mask.without(forbidden)
    for name, values in request.filters.features.items():
        mask = mask & _feature_mask(state, name, frozenset(values), len(mask))
    if request.filters.items is not None:
        listed = np.unique(ids.rows(request.filters.items))
        listed = listed[(listed >= 0) & (listed < len(mask))]
        listed = listed[mask[listed]]
        return AllowedRows(mask, listed, len(listed))
    if request.filters.features:
        rows = np.flatnonzero(mask)
        return AllowedRows(mask, rows if len(rows) <= _DIRECT_BUDGETS * budget else None, len(rows))
    return AllowedRows(mask, None, size)


def _feature_mask(
    state: EpochState, name: str, values: frozenset[str | int | float | bool | None], rows: int
) -> NDArray[np.bool_]:
    index = state.items.features
    if name not in index.names:
        raise RequestError(
            f"no item has a feature {name!r} to filter by; known: {', '.join(index.names) or 'none yet'}"
        )
    return index.mask(name, values, rows)
