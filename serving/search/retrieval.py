"""Retrieval: requests in, the best items of a mirror out. No I/O; offline evaluation calls it too."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from functools import partial
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

from hsnn.serving.errors import RequestError
from hsnn.serving.limits import Deadline, RetrievalLimits
from hsnn.serving.mirror.epoch_state import EpochState
from hsnn.serving.mirror.mirror import Mirror
from hsnn.serving.schema import MODES, Answer, Request, RetrievalMode, Sampling
from hsnn.serving.search.answers import Work, make_answer
from hsnn.serving.search.conditions import ItemConditions, conditions_of
from hsnn.serving.search.engine import answers_by_engine, encoded_by_engine, engine_search, engine_search_all
from hsnn.serving.search.explain import explain
from hsnn.serving.search.filters import AllowedRows, allowed_rows, excluded_rows
from hsnn.serving.search.modes import SEARCH_FUNCTIONS, SearchContext, beam_width
from hsnn.serving.search.plain import answer_plain, is_one_search, is_plain
from hsnn.serving.search.queries import pair_scores_of_requests, queries_from_requests, remembered_items
from hsnn.serving.search.reasons import reasons_of_model, unreached_by_model
from hsnn.serving.search.selection import Draw, Selector
from hsnn.serving.search.topk import SearchResult, top_k

__all__ = ["CHUNK", "retrieve"]

# Requests answered while other readers wait once: a larger chunk shares more of the user tower's cost, a smaller one
# lets others in sooner.
CHUNK = 64

# Decayed count below which a draw takes an item's popularity for this much, as the log of none is infinite.
_LEAST_COUNT = 1e-9

_DEFAULT_LIMITS = RetrievalLimits()

_WITHOUT_MODEL = (RetrievalMode.POPULARITY, RetrievalMode.COVISITATION, RetrievalMode.LATEST)

# Modes that score some candidates: the most boosted items are added to these.
_FROM_CANDIDATES = (RetrievalMode.BEAM, RetrievalMode.POPULARITY_FILTER)


def retrieve(
    mirror: Mirror,
    requests: Sequence[Request],
    limits: RetrievalLimits = _DEFAULT_LIMITS,
    deadline: Deadline | None = None,
    *,
    seed: str = "",
) -> list[Answer]:
    """Answer requests, each as if it were alone; the user tower runs once per chunk of them.

    Thread-safe while one thread updates the mirror: a chunk sees the mirror between two updates. `seed` decides what
    requests that sample draw, together with their place and user.

    Raises
    ------
    DeadlineError
        The deadline passed before the last request was begun.
    NotReadyError
        The mirror has no version yet.
    RequestError
        A mode, feature or k that cannot be served; the text says which are known.
    """
    answers: list[Answer] = []
    for request in requests:
        _check(request, limits)
    if len(requests) == 1 and (answer := retrieve_plain(mirror, requests[0], limits)) is not None:
        return [answer]
    for start in range(0, len(requests), CHUNK):
        with mirror.reading():
            chunk = requests[start : start + CHUNK]
            seeds = [f"{seed}/{start + number}/{request.user}" for number, request in enumerate(chunk)]
            for answer in _answer_chunk(mirror.state, chunk, limits, seeds):
                answers.append(answer)
                if deadline is not None and len(answers) < len(requests):
                    deadline.check(len(answers), len(requests))
    return answers


def retrieve_plain(mirror: Mirror, request: Request, limits: RetrievalLimits) -> Answer | None:
    """Answer a request if it is plain, without waiting for other readers where the mirror allows that; else None.

    Raises as `retrieve` does.
    """
    _check(request, limits)
    with mirror.pinned() if mirror.never_waits else mirror.reading():
        return answer_plain(mirror.state, request, limits) if is_plain(mirror.state, request, limits) else None


def check_k(k: int | None, limits: RetrievalLimits) -> None:
    """Raise RequestError if a query asks for more items than the server gives."""
    if (k or 1) > limits.max_k:
        raise RequestError(f"k = {k} is more than this server gives; the most is {limits.max_k}")


def make_draw(sampling: Sampling | None, seed: str, *, counts: bool = False) -> Draw | None:
    """Make the draw of a query that samples; `counts` says that its scores are counts, not logits."""
    if sampling is None:
        return None
    number = int.from_bytes(blake2b(seed.encode("utf-8", "surrogatepass"), digest_size=16).digest())
    return Draw(
        sampling.temperature,
        sampling.pool,
        np.random.default_rng(number),
        lambda scores: np.log(np.maximum(scores, _LEAST_COUNT)) if counts else scores,
    )


def _check(request: Request, limits: RetrievalLimits) -> None:
    if request.mode not in MODES:
        raise RequestError(f"unknown mode {request.mode!r}; known: {', '.join(MODES)}")
    check_k(request.k, limits)
    if request.mode == RetrievalMode.LATEST and (request.boosts or request.sampling):
        raise RequestError(
            "the latest items are ordered by time: leave out boosts and sampling, or ask in another mode"
        )


def _answer_chunk(
    state: EpochState, requests: Sequence[Request], limits: RetrievalLimits, seeds: Sequence[str]
) -> Iterator[Answer]:
    began = time.perf_counter()
    queries, index = queries_from_requests(state, requests), state.index
    # Without pair facts, which name items of any node, one beam search without conditions does without the nodes that
    # it does not reach. Caps, new items and draws search again with conditions where too few items are left.
    full = index.config.pair_features or not all(is_one_search(request) for request in requests)
    memory = remembered_items(state, queries, requests)
    encoded = pairs = None
    if any(
        request.mode not in _WITHOUT_MODEL and not encoded_by_engine(state, request, limits) for request in requests
    ):
        shares, beam = index.leaves.node_log_share(), beam_width(state, limits)
        encoded = index.scorer.encode(queries, index.vectors, shares, beam, full=full)
    if index.config.pair_features and any(request.mode not in _WITHOUT_MODEL for request in requests):
        users = state.users.ids.rows([request.user for request in requests])
        pairs = pair_scores_of_requests(state, queries, users, memory)
    excluded = excluded_rows(state, requests, queries, memory)
    shared_seconds = (time.perf_counter() - began) / len(requests)
    context = SearchContext(state, limits, queries=queries, encoded=encoded, pairs=pairs, memory=memory)
    for number, request in enumerate(requests):
        yield _answer(
            context, request, excluded[number], number=number, seed=seeds[number], shared_seconds=shared_seconds
        )


def _answer(
    context: SearchContext,
    request: Request,
    excluded: NDArray[np.int32],
    *,
    number: int,
    seed: str,
    shared_seconds: float,
) -> Answer:
    """Answer the request `number` of a chunk; `shared_seconds` is its share of the work done for all of them.

    `excluded` (E,) holds the rows of past items that are left out, -1 padded.
    """
    work = Work(time.perf_counter(), shared_seconds)
    state, k, mode = context.state, request.k or context.limits.k, RetrievalMode(request.mode)
    now, conditions = context.time_of(number), conditions_of(state, request)

    def allowed(own: ItemConditions) -> AllowedRows:
        return allowed_rows(state, request, excluded, conditions=own, budget=context.budget)

    def find(own: ItemConditions, count: int) -> SearchResult:
        asked = context._replace(conditions=own)
        if not answers_by_engine(state, mode, context.limits, now):
            return SEARCH_FUNCTIONS[mode](asked, number, allowed(own), count)
        left_out = np.unique(np.concatenate([excluded, state.items.ids.rows(request.filters.exclude)]))
        if mode is RetrievalMode.BEAM:
            return engine_search(asked, number, left_out, count)
        return engine_search_all(asked, number, left_out, count, bounded=mode is RetrievalMode.EXACT)

    def search(own: ItemConditions, count: int) -> SearchResult:
        found = find(own, count)
        if own.boosts is None or mode not in _FROM_CANDIDATES:
            return found
        most = own.keep(most_boosted(own.boosts, allowed(own), context.budget))
        return found.united(find(most, count), count)

    draw = make_draw(request.sampling, seed, counts=mode is RetrievalMode.POPULARITY)
    selected = Selector(state, request, k, now=now, draw=draw).select(search, conditions, context.budget)
    if selected.result.evaluations is not None:
        work = work._replace(nodes_scored=selected.result.evaluations)
    elif context.encoded is not None and mode not in _WITHOUT_MODEL:
        work = work._replace(nodes_scored=context.encoded.nodes_scored)
    context = context._replace(conditions=conditions)
    explanations = explain(
        state,
        request,
        selected,
        conditions=conditions,
        excluded=excluded,
        search=search,
        reasons=partial(reasons_of_model, context, number, mode),
        unreached=partial(unreached_by_model, context, number, mode),
    )
    return make_answer(
        state,
        request,
        selected,
        k=k,
        allowed=lambda: allowed(conditions).size,
        work=work,
        explanations=explanations,
        effective={"mode": mode.value, "beam": context.beam, "budget": context.budget},
    )


def most_boosted(boosts: NDArray[np.float32], allowed: AllowedRows, count: int) -> NDArray[np.bool_]:
    """Return which rows (rows,) are the allowed ones with the largest boosts above zero, at most `count`."""
    rows = allowed.all_rows()
    rows = rows[rows < len(boosts)]
    rows = rows[boosts[rows] > 0]
    chosen = np.zeros(len(boosts), np.bool_)
    chosen[rows[top_k(boosts[rows], count)]] = True
    return chosen
