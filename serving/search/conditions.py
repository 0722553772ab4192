"""What a request asks of items, by row: all that a search knows of the query language."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hsnn.serving.errors import RequestError
from hsnn.serving.mirror.mirror import EpochState
from hsnn.serving.schema import Request
from hsnn.trainer.rowstore.arrays import Array


class ItemConditions(NamedTuple):
    """Filters and boosts of one request, by item row; rows beyond the end of an array fail, or are not boosted.

    Attributes
    ----------
    mask : (rows,) bool or None
        Rows that pass all filters; None: every row does. Whether a row is retrievable at all, and which past items of
        the user are left out, is applied beside it.
    boosts : (rows,) float32 or None
        Added to an item's score, before candidates are chosen. Finite; None: nothing is added. The mode ``popularity``
        has no scores to add it to.
    """

    mask: NDArray[np.bool_] | None = None
    boosts: NDArray[np.float32] | None = None

    def boosted(self, scores: NDArray[np.float32], rows: NDArray[np.integer]) -> NDArray[np.float32]:
        """Add the boosts of `rows` (n,) to their scores (n,).

        Examples
        --------
        >>> conditions = ItemConditions(boosts=np.array([0.5, 2.0], np.float32))
        >>> conditions.boosted(np.ones(3, np.float32), np.array([1, 0, 7])).tolist()
        [3.0, 1.5, 1.0]
        """
        if self.boosts is None:
            return scores
        boosted: NDArray[np.float32] = scores + _padded(self.boosts, int(rows.max(initial=-1)) + 1)[rows]
        return boosted

    def passing(self, mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Return which rows of a mask (rows,) pass the filters, too.

        Examples
        --------
        >>> ItemConditions(np.array([True, False])).passing(np.array([True, True, True])).tolist()
        [True, False, False]
        """
        return mask if self.mask is None else mask & _padded(self.mask, len(mask))[: len(mask)]


def conditions_of(state: EpochState, request: Request) -> ItemConditions:
    """Evaluate the filters of a request on all items of a state.

    Raises
    ------
    RequestError
        A feature filter names a feature that no item has.
    """
    filters, ids = request.filters, state.items.ids
    mask: NDArray[np.bool_] | None = None
    for name, values in filters.features.items():
        part = _feature_mask(state, name, frozenset(values), len(ids))
        mask = part if mask is None else mask & part
    if filters.items is not None:
        listed: NDArray[np.bool_] = np.zeros(len(ids), np.bool_)
        rows = ids.rows(filters.items)
        listed[rows[rows >= 0]] = True
        mask = listed if mask is None else mask & listed
    return ItemConditions(mask)


def _feature_mask(
    state: EpochState, name: str, values: frozenset[str | int | float | bool | None], rows: int
) -> NDArray[np.bool_]:
    index = state.items.features
    if name not in index.names:
        raise RequestError(
            f"no item has a feature {name!r} to filter by; known: {', '.join(index.names) or 'none yet'}"
        )
    return index.mask(name, values, rows)


def _padded(array: Array, rows: int) -> Array:
    """Return an array with zeros behind its end, at least `rows` long."""
    return array if rows <= len(array) else np.pad(array, (0, rows - len(array)))
