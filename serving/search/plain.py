"""Plain requests: one user, the mode ``beam``, no conditions. Answered by the engine with as few calls as possible.

The answer is that of the path which every request can take (`hsnn.serving.search.retrieval`), which a test checks.
"""

from __future__ import annotations

import time

import numpy as np

from hsnn.serving.limits import RetrievalLimits
from hsnn.serving.mirror.epoch_state import EpochState
from hsnn.serving.schema import Answer, Filters, Request, RetrievalMode
from hsnn.serving.search.answers import Explanations, Work, make_answer
from hsnn.serving.search.engine import encoded_by_engine, engine_search
from hsnn.serving.search.filters import MOST_GIVEN, seen_rule
from hsnn.serving.search.modes import SearchContext
from hsnn.serving.search.queries import given_history, pair_scores_of_requests, query_of_request
from hsnn.serving.search.selection import Selected
from hsnn.trainer.retrieval.leaf_scan import Rows
from hsnn.trainer.retrieval.past_items import PastItemsRule, past_items

# What a request may ask for that takes more than one search, or searches every leaf.
_SEARCHES = ("boosts", "caps", "new_items", "sampling", "explain", "why_not")
_NO_FILTERS = Filters()
_NOTHING_EXPLAINED = Explanations()


def is_one_search(request: Request) -> bool:
    """Whether a request is answered by one beam search without conditions."""
    return (
        request.mode == RetrievalMode.BEAM
        and request.filters == _NO_FILTERS
        and not any(getattr(request, name) for name in _SEARCHES)
    )


def is_plain(state: EpochState, request: Request, limits: RetrievalLimits) -> bool:
    """Whether a request has no conditions, and the engine encodes and answers it."""
    return is_one_search(request) and not (request.echo or request.fields) and encoded_by_engine(state, request, limits)


def answer_plain(state: EpochState, request: Request, limits: RetrievalLimits) -> Answer:
    """Answer a plain request."""
    began = time.perf_counter()
    queries, k = query_of_request(state, request), request.k or limits.k
    pairs = None
    if state.index.config.pair_features:
        pairs = pair_scores_of_requests(state, queries, np.array([state.users.ids.row(str(request.user))]), None)
    context = SearchContext(state, limits, queries=queries, encoded=None, pairs=pairs)
    excluded = _past_rows(state, request, int(queries.now[0]))
    found = engine_search(context, 0, excluded, k)
    return make_answer(
        state,
        request,
        Selected(found),
        k=k,
        allowed=lambda: _allowed(state, excluded),
        work=Work(began, nodes_scored=found.evaluations or 0),
        explanations=_NOTHING_EXPLAINED,
        effective={},
    )


def _allowed(state: EpochState, excluded: Rows) -> int:
    """Count the retrievable rows that are not left out; the buffer of `AliveMask.without` is for one reader."""
    mask = state.alive_mask.mask
    return state.corpus - int(np.count_nonzero(mask[excluded[excluded < len(mask)]]))


def _past_rows(state: EpochState, request: Request, now: int) -> Rows:
    """Return the rows of the user's past items that are left out, ascending."""
    users = state.users
    user = users.ids.row(str(request.user))
    if request.history is not None:
        length = min(max(len(request.history), state.index.config.history), MOST_GIVEN)
        items, times = given_history(state, request, now=now, length=length)
    else:
        items, times = users.histories.items[user], users.histories.times[user]
        if user < 0:
            items, times = items[:0], times[:0]
    return past_items(PastItemsRule.at(seen_rule(state, request), now), items, times, users.memory.entries_of(user))
