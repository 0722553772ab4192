"""Retrieval: requests in, the best items of a mirror out. No I/O; offline evaluation calls it too."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from hsnn.serving.errors import RequestError
from hsnn.serving.limits import Deadline, RetrievalLimits
from hsnn.serving.mirror.mirror import EpochState, Mirror
from hsnn.serving.schema import MODES, Answer, AnswerStats, Filters, Request, RetrievalMode
from hsnn.serving.search.conditions import conditions_of
from hsnn.serving.search.filters import allowed_rows, excluded_rows
from hsnn.serving.search.modes import SEARCH_FUNCTIONS, SearchContext, beam_width
from hsnn.serving.search.queries import facts_of_queries, queries_from_requests, remembered_items

__all__ = ["CHUNK", "retrieve"]

# Requests answered while the mirror's lock is held once: a larger chunk shares more of the user tower's cost, a smaller
# one lets the follower apply updates sooner.
CHUNK = 64

_DEFAULT_LIMITS = RetrievalLimits()


def retrieve(
    mirror: Mirror,
    requests: Sequence[Request],
    limits: RetrievalLimits = _DEFAULT_LIMITS,
    deadline: Deadline | None = None,
) -> list[Answer]:
    """Answer requests, each as if it were alone; the user tower runs once per chunk of them.

    Thread-safe while one thread updates the mirror: a chunk sees the mirror between two updates.

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
    for start in range(0, len(requests), CHUNK):
        with mirror.lock:
            for answer in _answer_chunk(mirror.state, requests[start : start + CHUNK], limits):
                answers.append(answer)
                if deadline is not None and len(answers) < len(requests):
                    deadline.check(len(answers), len(requests))
    return answers


def _check(request: Request, limits: RetrievalLimits) -> None:
    if request.mode not in MODES:
        raise RequestError(f"unknown mode {request.mode!r}; known: {', '.join(MODES)}")
    if (request.k or 1) > limits.max_k:
        raise RequestError(f"k = {request.k} is more than this server gives; the most is {limits.max_k}")


def _answer_chunk(state: EpochState, requests: Sequence[Request], limits: RetrievalLimits) -> Iterator[Answer]:
    began = time.perf_counter()
    queries, index = queries_from_requests(state, requests), state.index
    # Without pair facts, which name items of any node, a plain beam search does without the nodes it does not reach.
    plain = all(request.mode == RetrievalMode.BEAM and request.filters == Filters() for request in requests)
    full = index.config.pair_features or not plain
    memory = remembered_items(state, queries, requests)
    encoded = pairs = None
    if any(request.mode != RetrievalMode.POPULARITY for request in requests):
        shares, beam = index.leaves.node_log_share(), beam_width(state, limits)
        encoded = index.scorer.encode(queries, index.vectors, shares, beam, full=full)
        if index.config.pair_features:
            pairs = index.scorer.pair_logits(facts_of_queries(state, queries, memory)).by_query(len(requests))
    excluded = excluded_rows(state, requests, queries, memory)
    shared_seconds = (time.perf_counter() - began) / len(requests)
    context = SearchContext(state, limits, queries=queries, encoded=encoded, pairs=pairs)
    for number, request in enumerate(requests):
        yield _answer(context, request, excluded[number], number=number, shared_seconds=shared_seconds)


def _answer(
    context: SearchContext, request: Request, excluded: NDArray[np.int32], *, number: int, shared_seconds: float
) -> Answer:
    """Answer the request `number` of a chunk; `shared_seconds` is its share of the work done for all of them.

    `excluded` (E,) holds the rows of past items that are left out, -1 padded.
    """
    began = time.perf_counter()
    state, k, mode = context.state, request.k or context.limits.k, RetrievalMode(request.mode)
    conditions = conditions_of(state, request)
    allowed = allowed_rows(state, request, excluded, conditions=conditions, budget=context.budget)
    result = SEARCH_FUNCTIONS[mode](context._replace(conditions=conditions), number, allowed, k)
    item_ids, nodes_scored = state.items.ids.ids, 0
    if context.encoded is not None and mode is not RetrievalMode.POPULARITY:
        nodes_scored = context.encoded.nodes_scored
    return Answer(
        items=[item_ids[row] for row in result.rows.tolist()],
        scores=result.scores.tolist(),
        version=state.index.version,
        as_of=state.watermark,
        stats=AnswerStats(
            scored=result.scored,
            candidates=result.candidates,
            nodes=result.nodes,
            corpus=state.corpus,
            certified=result.certified,
            scored_share=round(result.scored / max(state.corpus, 1), 4),
            evaluations=nodes_scored,
            dots=result.dots,
            sources=dict(result.sources),
            took_ms=round(1000 * (time.perf_counter() - began + shared_seconds), 3),
        ),
    )
