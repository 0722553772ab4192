"""Filters as masks over rows, so that the beam spends its budget on allowed items only."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hsnn.serving.errors import RequestError
from hsnn.serving.mirror.mirror import EpochState
from hsnn.serving.schema import Request

_DIRECT = 16
"""A feature filter that leaves at most this many times the budget is searched without the beam."""


class AllowedRows(NamedTuple):
    """What a request may get.

    Attributes
    ----------
    mask : (rows,) bool
        By everything but an allow-list. It holds until the world is asked for the next request.
    rows : (n,) int64 or None
        The allowed rows themselves where they are so few that no beam is needed to find them.
    size : int
        How many rows are allowed.
    """

    mask: NDArray[np.bool_]
    rows: NDArray[np.int64] | None
    size: int

    def all_rows(self) -> NDArray[np.int64]:
        """Every allowed row, (n,)."""
        return np.flatnonzero(self.mask) if self.rows is None else self.rows

    def full_mask(self) -> NDArray[np.bool_]:
        """Which rows are allowed, (rows,) bool, by an allow-list too."""
        if self.rows is None:
            return self.mask
        mask = np.zeros_like(self.mask)
        mask[self.rows] = True
        return mask


def allowed_rows(world: EpochState, request: Request, history: NDArray[np.integer], budget: int) -> AllowedRows:
    """Rows that may be returned to a request whose `history` (L,) holds the rows of the user's last items.

    Raises
    ------
    RequestError
        A feature filter names a feature that no item has.
    """
    ids = world.items.ids
    forbidden = np.unique(np.concatenate([history, ids.rows(request.filters.exclude)]))
    mask, size = world.alive_mask.without(forbidden)
    for name, values in request.filters.features.items():
        mask = mask & _feature(world, name, frozenset(values), len(mask))
    if request.filters.items is not None:
        listed = np.unique(ids.rows(request.filters.items))
        listed = listed[(listed >= 0) & (listed < len(mask))]
        listed = listed[mask[listed]]
        return AllowedRows(mask, listed, len(listed))
    if request.filters.features:
        found = np.flatnonzero(mask)
        return AllowedRows(mask, found if len(found) <= _DIRECT * budget else None, len(found))
    return AllowedRows(mask, None, size)


def _feature(
    world: EpochState, name: str, values: frozenset[str | int | float | bool | None], rows: int
) -> NDArray[np.bool_]:
    index = world.items.features
    if name not in index.names:
        raise RequestError(
            f"no item has a feature {name!r} to filter by; known: {', '.join(index.names) or 'none yet'}"
        )
    return index.mask(name, values, rows)
