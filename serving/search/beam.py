"""Retrieval over a mirror: requests in, the best items out. No I/O; also what offline evaluation runs."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from hsnn.serving.errors import RequestError
from hsnn.serving.limits import RetrievalLimits
from hsnn.serving.mirror.item_vectors import ItemVectors
from hsnn.serving.mirror.mirror import EpochState, Mirror
from hsnn.serving.schema import MODES, Answer, AnswerStats, Filters, HistoryItem, Request
from hsnn.serving.search import exact
from hsnn.serving.search.filters import AllowedRows, allowed_rows
from hsnn.serving.search.topk import SearchResult, top_k
from hsnn.streaming.schema.events import Id
from hsnn.trainer.features.hashing import token_matrix, tokens
from hsnn.trainer.model.scorer import Encoded, Queries
from hsnn.trainer.retrieval.score_bounds import DotQuery
from hsnn.trainer.rowstore.arrays import gather_rows

__all__ = ["CHUNK", "RetrievalLimits", "queries_from_requests", "retrieve"]

CHUNK = 64
"""Requests answered while the mirror's lock is held once."""


_DEFAULT_LIMITS = RetrievalLimits()
Find = Callable[[ItemVectors, DotQuery, NDArray[np.bool_], int], SearchResult]
"""Finds the best k of the allowed items of a tick."""


def retrieve(mirror: Mirror, requests: Sequence[Request], limits: RetrievalLimits = _DEFAULT_LIMITS) -> list[Answer]:
    """Answer requests, each as if it were alone; the user tower runs once for up to 64 of them.

    Safe to call from any thread while one thread feeds the mirror: a request sees a mirror between two changes.

    Raises
    ------
    NotReadyError
        The mirror has no version yet.
    RequestError
        A mode, feature or k that cannot be served; says which are known.
    """
    answers: list[Answer] = []
    for request in requests:
        _check(request, limits)
    for start in range(0, len(requests), CHUNK):
        with mirror.lock:
            answers += _answer(mirror.state, requests[start : start + CHUNK], limits)
    return answers


def _check(request: Request, limits: RetrievalLimits) -> None:
    if request.mode not in MODES:
        raise RequestError(f"unknown mode {request.mode!r}; known: {', '.join(MODES)}")
    if (request.k or 1) > limits.max_k:
        raise RequestError(f"k = {request.k} is more than this server gives; the most is {limits.max_k}")


def _answer(world: EpochState, requests: Sequence[Request], limits: RetrievalLimits) -> list[Answer]:
    began = time.perf_counter()
    queries = queries_from_requests(world, requests)
    index = world.index
    full = any(request.mode != "beam" or request.filters != Filters() for request in requests)
    encoded = None
    if any(request.mode != "popularity" for request in requests):
        encoded = index.scorer.encode(queries, index.vectors, index.leaves.node_log_share(), limits.beam, full=full)
    shared = (time.perf_counter() - began) / len(requests)
    search = _Search(world, limits, queries, encoded)
    return [search.answer(number, request, shared) for number, request in enumerate(requests)]


class _Search:
    """The requests of one chunk, encoded."""

    def __init__(self, world: EpochState, limits: RetrievalLimits, queries: Queries, encoded: Encoded | None) -> None:
        self.state, self.queries, self.encoded = world, queries, encoded
        self.limits = limits
        self.beam = limits.beam or world.index.config.beam
        self.budget = limits.budget or world.index.config.budget

    def answer(self, number: int, request: Request, shared: float) -> Answer:
        """Answer the request `number`; `shared` seconds were spent on it together with the others."""
        began = time.perf_counter()
        world, k = self.state, request.k or self.limits.k
        may = allowed_rows(world, request, self.queries.history_items[number], self.budget)
        found = getattr(self, f"_{request.mode}")(number, may, k)
        names = world.items.ids.ids
        return Answer(
            items=[names[row] for row in found.rows.tolist()],
            scores=found.scores.tolist(),
            version=world.index.version,
            as_of=world.watermark,
            stats=AnswerStats(
                scored=found.scored,
                candidates=found.candidates,
                nodes=found.nodes,
                corpus=world.corpus,
                certified=found.certified,
                scored_share=round(found.scored / max(world.corpus, 1), 4),
                evaluations=0 if self.encoded is None or request.mode == "popularity" else self.encoded.evaluations,
                took_ms=round(1000 * (time.perf_counter() - began + shared), 3),
            ),
        )

    def _beam(self, number: int, may: AllowedRows, k: int) -> SearchResult:
        assert self.encoded is not None
        leaves = self.state.index.leaves
        if may.rows is not None:
            rows = leaves.best(may.rows, self.encoded.nodes[number], self.budget).rows
            return self._scored(number, rows, k, may, candidates=len(may.rows))
        found = leaves.candidates(self.encoded.seen[number], self.beam, self.budget, may.mask.take)
        seen = self.encoded._replace(nodes=self.encoded.seen)  # the same bits, whatever the neighbours in the chunk ask
        return self._scored(number, found.rows, k, may, found.considered, found.opened, seen)

    def _exact(self, number: int, may: AllowedRows, k: int) -> SearchResult:
        if not self.state.index.scorer.boundable:
            raise RequestError(
                "mode 'exact' needs an item level that is a dot product, and this model's is none; "
                "mode 'exhaustive' gives the same items by scoring them all"
            )
        return self._all_of(number, may, k, exact.search)

    def _exhaustive(self, number: int, may: AllowedRows, k: int) -> SearchResult:
        return self._all_of(number, may, k, exact.score_all)

    def _all_of(self, number: int, may: AllowedRows, k: int, find: Find) -> SearchResult:
        """Find the best of all allowed items; so few that a beam would score them all need no search."""
        rows, scorer = may.all_rows(), self.state.index.scorer
        if len(rows) <= self.budget or not scorer.boundable:
            return self._scored(number, rows, k, may, candidates=len(rows))
        assert self.encoded is not None
        tick = self.state.item_vectors(int(self.queries.now[number]))
        return find(tick, scorer.dot_query(self.encoded, number), may.full_mask(), k)

    def _popularity_filter(self, number: int, may: AllowedRows, k: int) -> SearchResult:
        rows = may.all_rows()
        best = rows[top_k(self._traffic(rows), self.budget)]
        return self._scored(number, best, k, may, candidates=len(rows))

    def _popularity(self, number: int, may: AllowedRows, k: int) -> SearchResult:
        rows = may.all_rows()
        best = rows[top_k(self._traffic(rows), k)]
        now = int(self.queries.now[number])
        counts = self.state.states.counts(best, now)[:, self.state.half_life]
        return SearchResult(best, counts, scored=0, candidates=len(rows), nodes=0, certified=False)

    def _traffic(self, rows: NDArray[np.int64]) -> NDArray[np.float64]:
        """Log traffic (n,) of rows (n,) at the half-life in use."""
        return self.state.states.log_mass(rows, self.state.half_life, 0)

    def _scored(
        self,
        number: int,
        rows: NDArray[np.int64],
        k: int,
        may: AllowedRows,
        candidates: int,
        nodes: int = 0,
        encoded: Encoded | None = None,
    ) -> SearchResult:
        """Score `rows` by the item level and keep the best `k`; of equal ones the older item first, in every mode."""
        encoded = encoded or self.encoded
        assert encoded is not None
        rows, index = np.sort(rows), self.state.index
        features = self.state.states.features(rows, int(self.queries.now[number]))
        cross = self.state.cross_features.features(self.queries, number, rows) if index.config.cross else None
        vectors, leaves = gather_rows(index.vectors, rows), gather_rows(index.leaves.node_of, rows)
        scores = index.scorer.score(encoded, number, vectors, features, leaves, cross)
        best = top_k(scores, k)
        return SearchResult(rows[best], scores[best], len(rows), candidates, nodes, certified=len(rows) == may.size)


def queries_from_requests(world: EpochState, requests: Sequence[Request]) -> Queries:
    """Turn requests into what the model sees; an unknown user has no history and no features.

    The world is to be read under its mirror's lock.
    """
    config, people = world.index.config, world.users
    now = np.array([world.watermark if one.as_of is None else one.as_of for one in requests], np.int64)
    rows = people.ids.rows([one.user for one in requests])
    known, own = rows >= 0, np.maximum(rows, 0)
    items = np.where(known[:, None], people.histories.items[own], -1)
    times = np.where(known[:, None], people.histories.times[own], 0)
    for number, one in enumerate(requests):
        if one.history is not None:
            items[number], times[number] = _given_history(world, one, int(now[number]))
    contexts = [tokens(one.context, config.buckets, config.context_tokens) for one in requests]
    return Queries(
        items,
        times,
        np.where(known[:, None], people.tokens[own], -1),
        token_matrix(contexts, config.context_tokens),
        now,
    )


def _given_history(world: EpochState, request: Request, now: int) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Rows and times (L,) of a history that came with the request; unknown items are left out."""
    length = world.index.config.history
    items, times = np.full(length, -1, np.int32), np.zeros(length, np.int64)
    given = [_engaged(one, now) for one in request.history or ()]
    rows = world.items.ids.rows([one.item for one in given])
    kept = np.flatnonzero(rows >= 0)[-length:]
    if len(kept):
        items[-len(kept) :] = rows[kept]
        times[-len(kept) :] = [given[position].ts for position in kept]
    return items, times


def _engaged(given: Id | HistoryItem | tuple[Id, int], now: int) -> HistoryItem:
    """Give an element of a history a time; callers in the same process may write it as a pair."""
    if isinstance(given, HistoryItem):
        return given
    return HistoryItem(*given) if isinstance(given, tuple) else HistoryItem(given, now)
