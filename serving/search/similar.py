"""Items like given ones: by the cosine of their vectors, and by what users engage with around them."""

from __future__ import annotations

import time

import numpy as np
from numpy.typing import NDArray

from hsnn.serving.errors import RequestError
from hsnn.serving.limits import RetrievalLimits
from hsnn.serving.mirror.mirror import EpochState, Mirror
from hsnn.serving.schema import Answer, Reason, RetrievalMode, SimilarRequest
from hsnn.serving.search.answers import Work, make_answer
from hsnn.serving.search.conditions import ItemConditions, conditions_of
from hsnn.serving.search.explain import explain
from hsnn.serving.search.filters import allowed_rows, excluded_rows
from hsnn.serving.search.queries import as_request, queries_from_requests, remembered_items
from hsnn.serving.search.retrieval import check_k, make_draw
from hsnn.serving.search.selection import Selector
from hsnn.serving.search.topk import SearchResult, top_k_rows
from hsnn.trainer.features.covisitation import decayed

# Rows whose vectors are gathered at once: bounds the copy of their vectors to some megabytes.
_CHUNK = 65_536

# Pseudo-weight of a given item's pairs: one single pair is a share of 1/2, as in `Covisitation`.
_PRIOR = 1.0

# Decimals of numbers in explanations.
_DECIMALS = 4

# Given items that are named per returned item.
_MOST_NAMED = 3


def similar(mirror: Mirror, request: SimilarRequest, limits: RetrievalLimits, *, seed: str = "") -> Answer:
    """Find items like given ones; every allowed item is compared, so the answer is exact.

    Raises
    ------
    NotReadyError
        The mirror has no version yet.
    RequestError
        No given item is known, or something else cannot be served; the text says what is known.
    """
    check_k(request.k, limits)
    with mirror.reading():
        return _answer(mirror.state, request, limits, seed)


def _answer(state: EpochState, request: SimilarRequest, limits: RetrievalLimits, seed: str) -> Answer:
    work, k, asked = Work(time.perf_counter()), request.k or limits.k, [as_request(request, RetrievalMode.LATEST)]
    rows = np.unique(state.items.ids.rows(request.items))
    given = rows[(rows >= 0) & (rows < len(state.index.vectors))]
    if not len(given):
        raise RequestError("none of the given items is known here; send the id of one that has been announced")
    queries = queries_from_requests(state, asked)
    excluded = excluded_rows(state, asked, queries, remembered_items(state, queries, asked))[0]
    now, budget = int(queries.now[0]), limits.budget or state.index.config.budget
    conditions = conditions_of(state, request)

    def allowed(own: ItemConditions) -> NDArray[np.int64]:
        left_out = np.concatenate([excluded, given])
        return allowed_rows(state, request, left_out, conditions=own, budget=budget).all_rows()

    likeness = _Likeness(state, request.by, given, now=now)

    def search(own: ItemConditions, count: int) -> SearchResult:
        return likeness.search(allowed(own), own, count)

    draw = make_draw(request.sampling, seed)
    selected = Selector(state, request, k, now=now, draw=draw).select(search, conditions, budget)
    explanations = explain(
        state,
        request,
        selected,
        conditions=conditions,
        excluded=excluded,
        search=search,
        reasons=lambda rows, scores: likeness.reasons(conditions, rows),  # noqa: ARG005
        unreached=lambda row: _why_not_like(row, given),
    )
    return make_answer(
        state,
        request,
        selected,
        k=k,
        allowed=lambda: len(allowed(conditions)),
        work=work,
        explanations=explanations,
        effective={"by": likeness.by},
    )


def _why_not_like(row: int, given: NDArray[np.int64]) -> tuple[str, str]:
    """Say at which stage an allowed row fell out that has no score."""
    if row in given:
        return "given", "the query is for items like this one"
    return "not_scored", "there is no evidence that it is like the given items"


class _Likeness:
    """How much every row is like the given ones.

    Attributes
    ----------
    by : str
        What likeness consists of: that of the request, or the model alone where no pairs are counted.
    """

    def __init__(self, state: EpochState, by: str, given: NDArray[np.int64], *, now: int) -> None:
        counted = state.index.config.counts_pairs
        if by == "evidence" and not counted:
            raise RequestError("this model counts no pairs of items, so there is no evidence; ask by 'model'")
        self.by = by if counted else "model"
        self._state, self._given = state, given
        self._center = _mean_direction(state, given) if self.by != "evidence" else None
        self._evidence = np.zeros((len(given), len(state.index.vectors)), np.float32)  # (G, rows)
        if self.by != "model":
            self._count_evidence(now)

    def _count_evidence(self, now: int) -> None:
        """Set each item's share in what users engage with around a given item, the larger of both half-lives."""
        pairs = self._state.cross_features.covisitation
        neighbours, weights = pairs.counts(self._given, np.full(len(self._given), now))  # (G, 2, N)
        decay = decayed(np.maximum(now - pairs.last[self._given], 0))
        shares = weights / (_PRIOR + pairs.totals[self._given] * decay)[..., None]
        number, half_life, slot = np.nonzero((neighbours >= 0) & (neighbours < self._evidence.shape[1]))
        at = number, neighbours[number, half_life, slot]
        np.maximum.at(self._evidence, at, shares[number, half_life, slot].astype(np.float32))

    def search(self, rows: NDArray[np.int64], conditions: ItemConditions, k: int) -> SearchResult:
        """Find the best k of the allowed `rows` (n,)."""
        scores = conditions.boosted(np.sum(list(self._parts(rows).values()), axis=0), rows)
        count = len(rows)
        if self.by == "evidence" and conditions.boosts is None:  # an item without any is not like the given ones
            some = scores > 0
            rows, scores = rows[some], scores[some]
        best, values = top_k_rows(rows, scores.astype(np.float32), k)
        return SearchResult(best, values, count, count, nodes=0, certified=True)

    def reasons(self, conditions: ItemConditions, rows: NDArray[np.int64]) -> list[Reason]:
        """Give the reasons of returned rows (n,)."""
        parts = self._parts(rows) | {"boost": conditions.boosted(np.zeros(len(rows)), rows)}
        names = self._state.items.ids.ids
        reasons = []
        for place, row in enumerate(rows.tolist()):
            shares = self._evidence[:, row]
            best = [number for number in np.argsort(-shares, kind="stable")[:_MOST_NAMED].tolist() if shares[number]]
            own = {name: round(float(values[place]), _DECIMALS) for name, values in parts.items()}
            reasons.append(
                Reason(
                    source="evidence" if own.get("evidence", 0.0) > own.get("model", 0.0) else "model",
                    parts={name: value for name, value in own.items() if value},
                    history={names[self._given[number]]: round(float(shares[number]), _DECIMALS) for number in best},
                )
            )
        return reasons

    def _parts(self, rows: NDArray[np.int64]) -> dict[str, NDArray[np.float64]]:
        """Return both kinds of likeness of rows (n,), (n,) each."""
        parts = {}
        if self._center is not None:
            cosines = np.zeros(len(rows))
            for start in range(0, len(rows), _CHUNK):
                part = slice(start, start + _CHUNK)
                cosines[part] = _directions(self._state, rows[part]) @ self._center
            parts["model"] = cosines
        if self.by != "model":
            parts["evidence"] = self._evidence[:, rows].mean(0).astype(np.float64)
        return parts


def _directions(state: EpochState, rows: NDArray[np.int64]) -> NDArray[np.float32]:
    """Return the static vectors of rows (n,), without bias and of length 1; those of length 0 stay: (n, d)."""
    vectors = state.index.vectors[rows, :-1]
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    directions: NDArray[np.float32] = vectors / np.maximum(lengths, np.finfo(np.float32).tiny)
    return directions


def _mean_direction(state: EpochState, rows: NDArray[np.int64]) -> NDArray[np.float32]:
    mean = _directions(state, rows).mean(0)
    direction: NDArray[np.float32] = mean / max(float(np.linalg.norm(mean)), float(np.finfo(np.float32).tiny))
    return direction
