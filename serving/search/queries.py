"""Conversion of requests to model inputs: users, histories and contexts as arrays."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hsnn.serving.mirror.epoch_state import EpochState
from hsnn.serving.schema import HistoryItem, Query, Request, RetrievalMode
from hsnn.streaming.schema.events import Id
from hsnn.trainer.features.hashing import hash_features, pad_tokens
from hsnn.trainer.features.pair_facts import PairFacts, pair_facts
from hsnn.trainer.features.user_memory import MemoryEntries
from hsnn.trainer.model.scorer import QueryArrays
from hsnn.trainer.retrieval.pair_scores import PairScores
from hsnn.trainer.retrieval.past_items import remembered_since
from hsnn.trainer.retrieval.request_pairs import PairColumns, request_pairs

NOBODY = ""
"""The user of requests that name none; no event has this id."""


def as_request(query: Query, mode: RetrievalMode) -> Request:
    """Make a request of a query that may have a user; without one, of a user that nobody is.

    Examples
    --------
    >>> from hsnn.serving.schema import ListRequest
    >>> as_request(ListRequest(k=3), RetrievalMode.LATEST).mode
    'latest'
    """
    common: dict[str, Any] = {name: getattr(query, name) for name in Query.__struct_fields__}
    user = getattr(query, "user", None)
    return Request(user=NOBODY if user is None else user, mode=mode.value, **common)


def queries_from_requests(state: EpochState, requests: Sequence[Request]) -> QueryArrays:
    """Convert requests to model inputs; an unknown user has no history and no features.

    The state must not change meanwhile.
    """
    config, users = state.index.config, state.users
    now = np.array([state.time_of(request.as_of) for request in requests], np.int64)
    rows = users.ids.rows([request.user for request in requests])
    known, valid_rows = rows >= 0, np.maximum(rows, 0)
    items = np.where(known[:, None], users.histories.items[valid_rows], -1)
    times = np.where(known[:, None], users.histories.times[valid_rows], 0)
    for number, request in enumerate(requests):
        if request.history is not None:
            items[number], times[number] = given_history(state, request, now=int(now[number]), length=config.history)
    contexts = [hash_features(request.context, config.buckets, config.context_tokens) for request in requests]
    return QueryArrays(
        history_items=items,
        history_times=times,
        user_tokens=np.where(known[:, None], users.tokens[valid_rows], -1),
        context_tokens=pad_tokens(contexts, config.context_tokens),
        now=now,
    )


def query_of_request(state: EpochState, request: Request) -> QueryArrays:
    """Convert one request as `queries_from_requests` does; the arrays may be views of the mirror's."""
    config, users = state.index.config, state.users
    now = state.time_of(request.as_of)
    row = users.ids.row(str(request.user))
    if request.history is not None:
        items, times = given_history(state, request, now=now, length=config.history)
    elif row >= 0:
        items, times = users.histories.items[row], users.histories.times[row]
    else:
        items, times = np.full(config.history, -1, np.int32), np.zeros(config.history, np.int64)
    context = np.full(config.context_tokens, -1, np.int32)
    if request.context:
        hashed = hash_features(request.context, config.buckets, config.context_tokens)
        context[: len(hashed)] = hashed
    return QueryArrays(
        history_items=items[None],
        history_times=times[None],
        user_tokens=users.tokens[row][None] if row >= 0 else np.full((1, config.user_tokens), -1, np.int32),
        context_tokens=context[None],
        now=np.array([now], np.int64),
    )


def remembered_items(state: EpochState, queries: QueryArrays, requests: Sequence[Request]) -> MemoryEntries:
    """Gather what the mirror remembers of the users of requests."""
    users = state.users
    return users.memory.gather(users.ids.rows([request.user for request in requests]), queries.now)


def facts_of_queries(state: EpochState, queries: QueryArrays, memory: MemoryEntries) -> PairFacts:
    """Look up the pair facts of queries, with items by row, given what is remembered of their users."""
    return pair_facts(queries, memory, state.cross_features.covisitation, state.states)


def pair_scores_of_requests(
    state: EpochState, queries: QueryArrays, users: NDArray[np.integer], memory: MemoryEntries | None
) -> list[PairScores]:
    """Compute what pair facts add to the scores of items, for each query of the `users` (n,), -1 for an unknown one.

    `memory` is what `remembered_items` returned; the compiled engine reads what is remembered where it lies.
    """
    engine, now = state.index.engine, queries.now.tolist()
    if engine is None or engine.pairs is None:
        assert memory is not None, "the plain path reads copies"
        return state.index.scorer.pair_logits(facts_of_queries(state, queries, memory)).by_query(len(now))
    columns, remembered = PairColumns.of(state.cross_features.covisitation, state.states), state.users.memory
    found = []
    for number, user in enumerate(users.tolist()):
        rows, scores, near = request_pairs(
            engine.pairs,
            columns,
            history=np.ascontiguousarray(queries.history_items[number]),
            memory=remembered.entries_of(user),
            now=now[number],
            since=remembered_since(remembered.keep_ms, now[number]),
        )
        found.append(PairScores(np.zeros(len(rows), np.int64), rows, scores, near))
    return found


def given_history(
    state: EpochState, request: Request, *, now: int, length: int
) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Rows and times (length,) of the history in a request, padded in front; unknown items are left out."""
    items, times = np.full(length, -1, np.int32), np.zeros(length, np.int64)
    given = [_history_item(element, now) for element in request.history or ()]
    rows = state.items.ids.rows([element.item for element in given])
    kept = np.flatnonzero(rows >= 0)[-length:]
    if len(kept):
        items[-len(kept) :] = rows[kept]
        times[-len(kept) :] = [given[index].ts for index in kept]
    return items, times


def _history_item(given: Id | HistoryItem | tuple[Id, int], now: int) -> HistoryItem:
    """Add the time `now` to an element of a history that has none; callers in the same process may pass a pair."""
    if isinstance(given, HistoryItem):
        return given
    return HistoryItem(*given) if isinstance(given, tuple) else HistoryItem(given, now)
