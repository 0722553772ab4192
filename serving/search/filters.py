"""Rows that may be returned to a request, as a mask, so that the budget is spent on allowed items only."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hsnn.serving.mirror.epoch_state import EpochState
from hsnn.serving.schema import Query, Request
from hsnn.serving.search.conditions import ItemConditions
from hsnn.serving.search.queries import given_history
from hsnn.trainer.features.exclusion import excluded_items
from hsnn.trainer.features.queries import QueryArrays
from hsnn.trainer.features.user_memory import MemoryEntries
from hsnn.trainer.messages import ExclusionRule

MINUTE = 60_000
"""Milliseconds."""

# A filter that leaves at most this many times the budget is searched without the beam: choosing the best of so
# few rows is cheaper than opening nodes, and a beam could miss most of them.
_DIRECT_BUDGETS = 16

MOST_GIVEN = 256
"""Last items of a request's own history that are looked at: more than a session has."""


class AllowedRows(NamedTuple):
    """Rows that may be returned to a request.

    Attributes
    ----------
    mask : (rows,) bool
        Valid until the next request: the buffer is reused.
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


def excluded_rows(
    state: EpochState, requests: Sequence[Request], queries: QueryArrays, memory: MemoryEntries
) -> NDArray[np.int32]:
    """Return the rows (n, E) of past items that are left out for n requests, -1 padded.

    What is remembered of the users, `memory`, counts beside the history, be this the mirrored one or the request's.
    """
    items, times = _whole_histories(state, requests, queries)
    rules = [seen_rule(state, request) for request in requests]
    parts = []
    for rule in dict.fromkeys(rules):
        asking = np.array([number for number, other in enumerate(rules) if other == rule])
        parts.append(
            (
                asking,
                excluded_items(
                    rule, items[asking], times[asking], memory=memory.select(asking), now=queries.now[asking]
                ),
            )
        )
    excluded = np.full((len(requests), max((part.shape[1] for _, part in parts), default=0)), -1, np.int32)
    for asking, part in parts:
        excluded[asking, excluded.shape[1] - part.shape[1] :] = part
    return excluded


def seen_rule(state: EpochState, request: Query) -> ExclusionRule:
    """Return the rule by which past items are left out for a request: its own, or the trainer's."""
    own, rule = request.seen, state.exclusion
    if own is None:
        return rule
    items = rule.items if own.items is None else own.items
    time_ms = rule.time_ms if own.minutes is None else int(own.minutes * MINUTE)
    return ExclusionRule(own.rule, items=items, time_ms=time_ms, keep_ms=rule.keep_ms)


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


def allowed_rows(
    state: EpochState, request: Query, excluded: NDArray[np.integer], *, conditions: ItemConditions, budget: int
) -> AllowedRows:
    """Apply conditions, expiry and exclusion: rows that may be returned to a request.

    `excluded` (E,) holds the rows of the user's past items that are left out, beside those that the request lists.
    """
    forbidden = np.unique(np.concatenate([excluded, state.items.ids.rows(request.filters.exclude)]))
    mask, size = state.alive_mask.without(forbidden)
    if conditions.mask is None:
        return AllowedRows(mask, None, size)
    mask = conditions.passing(mask)
    rows = np.flatnonzero(mask)
    return AllowedRows(mask, rows if searched_directly(conditions, budget) else None, len(rows))


def searched_directly(conditions: ItemConditions, budget: int) -> bool:
    """Whether so few rows pass the filters of a request that no beam is needed."""
    return conditions.mask is not None and int(np.count_nonzero(conditions.mask)) <= _DIRECT_BUDGETS * budget
