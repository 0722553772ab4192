"""What a request asks of items, by row: all that a search knows of the query language."""

from __future__ import annotations

from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from hsnn.serving.mirror.epoch_state import EpochState
from hsnn.serving.schema import Query
from hsnn.serving.search.condition_masks import boost_addend, restrictions
from hsnn.trainer.rowstore.arrays import Array

Real = TypeVar("Real", bound=np.floating)


class ItemConditions(NamedTuple):
    """Filters and boosts of one request, by item row; rows beyond the end of an array fail, or are not boosted.

    Attributes
    ----------
    mask : (rows,) bool or None
        Rows that pass all filters; None: every row does. Whether a row is retrievable at all, and which past items of
        the user are left out, is applied beside it.
    boosts : (rows,) float32 or None
        Added to an item's score, before candidates are chosen. Finite; None: nothing is added. The mode ``popularity``
        adds it to the log of its counts.
    """

    mask: NDArray[np.bool_] | None = None
    boosts: NDArray[np.float32] | None = None

    def boosted(self, scores: NDArray[Real], rows: NDArray[np.integer]) -> NDArray[Real]:
        """Add the boosts of `rows` (n,) to their scores (n,).

        Examples
        --------
        >>> conditions = ItemConditions(boosts=np.array([0.5, 2.0], np.float32))
        >>> conditions.boosted(np.ones(3, np.float32), np.array([1, 0, 7])).tolist()
        [3.0, 1.5, 1.0]
        """
        if self.boosts is None:
            return scores
        boosted: NDArray[Real] = scores + _padded(self.boosts, int(rows.max(initial=-1)) + 1)[rows].astype(scores.dtype)
        return boosted

    def passing(self, mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Return which rows of a mask (rows,) pass the filters, too.

        Examples
        --------
        >>> ItemConditions(np.array([True, False])).passing(np.array([True, True, True])).tolist()
        [True, False, False]
        """
        return mask if self.mask is None else mask & _padded(self.mask, len(mask))[: len(mask)]

    def keep(self, kept: NDArray[np.bool_]) -> ItemConditions:
        """Let only those rows pass that `kept` (rows,) has, too."""
        return self._replace(mask=self.passing(kept))


def conditions_of(state: EpochState, request: Query) -> ItemConditions:
    """Evaluate filters and boosts of a request on all items of a state.

    Raises
    ------
    RequestError
        A filter or boost names a feature that no item has.
    """
    filters, ids = request.filters, state.items.ids
    mask: NDArray[np.bool_] | None = None
    for _, part in restrictions(state, filters, len(ids)):
        mask = part if mask is None else mask & part
    if filters.items is not None:
        listed: NDArray[np.bool_] = np.zeros(len(ids), np.bool_)
        rows = ids.rows(filters.items)
        listed[rows[rows >= 0]] = True
        mask = listed if mask is None else mask & listed
    now = state.time_of(request.as_of)
    return ItemConditions(mask, boost_addend(state, request.boosts, len(ids), now))


def _padded(array: Array, rows: int) -> Array:
    """Return an array with zeros behind its end, at least `rows` long."""
    return array if rows <= len(array) else np.pad(array, (0, rows - len(array)))
