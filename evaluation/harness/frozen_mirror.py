"""Answers of a mirror that stands still for up to an hour of stream time, and is renewed at every full hour.

It shows what a trainer that hangs, or a site that is updated by the hour, would lose: states, weights and memory of the
users are those of the copy; the clock goes on, and a query brings its own history.
"""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hsnn.evaluation.harness.served_path import served_result
from hsnn.evaluation.queries.query_batch import MethodResult, QueryBatch
from hsnn.serving.mirror.epoch_state import EpochState
from hsnn.serving.mirror.mirror import Mirror

# Milliseconds that a copy is in use, at most: an hour.
_HOUR = 3_600_000


class FrozenMirror:
    """A copy of the mirror, taken with the first batch that begins in a new hour."""

    def __init__(self) -> None:
        self._mirror = Mirror()
        self._hour = -1  # hours since the epoch

    def answer(self, live: MethodResult, queries: QueryBatch, k: int) -> MethodResult:
        """Answer queries; those of an hour that has just begun as the `live` mirror did, for they would share a copy.

        The queries are in order of the stream.
        """
        old = np.flatnonzero(queries.sampled.ts // _HOUR == self._hour)
        if not len(old):
            return live
        stop = int(old[-1]) + 1  # queries of the copy's hour come before those of the next
        frozen = served_result(self._mirror, queries, k, stop)
        return MethodResult(*(_joined(*parts, stop) for parts in zip(frozen, live, strict=True)))

    def follow(self, mirror: Mirror, last: int, following: int) -> None:
        """Renew the copy if a batch, not learned yet, enters a new hour that the next batch begins in, too.

        Parameters
        ----------
        mirror
            The live one, before the batch is learned.
        last, following
            Times of the last event of the batch and of the first event after it, epoch ms.
        """
        hour = last // _HOUR
        if hour == self._hour or not mirror.loaded or following // _HOUR != hour:
            return
        self._mirror, self._hour = _copied(mirror), hour


def _copied(mirror: Mirror) -> Mirror:
    """Copy a mirror; what never changes in place, or plays no part in answers without filters, is shared."""
    with mirror.reading():
        state = mirror.state
        state.alive()  # computed now, because the expiry times that it depends on are shared
        items = copy.copy(state.items)
        items.ids = copy.deepcopy(items.ids)
        shared: dict[int, Any] = {id(thing): thing for thing in (state.index.scorer, state.index.config)}
        shared |= {id(state.items): items}
        frozen: EpochState = copy.deepcopy(state, shared)
    return Mirror.holding(frozen)


def _joined(first: NDArray[Any] | None, second: NDArray[Any] | None, stop: int) -> Any:
    """Take `first` and the rows of `second` from `stop` on."""
    return None if first is None or second is None else np.concatenate([first, second[stop:]])
