"""Items like given ones: by the cosine of their vectors, and by what users engage with around them.

The nodes nearest to the mean direction of the given items are opened, as for a user, and their items are compared. What
has evidence is compared wherever it is.
"""

from __future__ import annotations

import time
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hsnn.serving.errors import RequestError
from hsnn.serving.limits import RetrievalLimits
from hsnn.serving.mirror.epoch_state import EpochState
from hsnn.serving.mirror.mirror import Mirror
from hsnn.serving.schema import Answer, Reason, RetrievalMode, SimilarRequest
from hsnn.serving.search.answers import Work, make_answer
from hsnn.serving.search.conditions import ItemConditions, conditions_of
from hsnn.serving.search.explain import explain
from hsnn.serving.search.filters import AllowedRows, allowed_rows, excluded_rows
from hsnn.serving.search.queries import as_request, queries_from_requests, remembered_items
from hsnn.serving.search.retrieval import check_k, make_draw
from hsnn.serving.search.selection import Selector
from hsnn.serving.search.topk import SearchResult, top_k_rows
from hsnn.trainer.features.covisitation import decayed
from hsnn.trainer.retrieval.index_recall import MOST_DOTS
from hsnn.trainer.retrieval.leaf_scan import Opening, ScanQuery, scan_leaves

# Nodes opened, at least, and items compared per item of an answer: of films, news and planted items 99 of 100 items of
# an exhaustive answer are found, be it 20 or 100 long.
_NODES, _COMPARED_PER_ITEM = 64, 8

# Rows whose vectors are gathered at once: bounds the copy of their vectors to some megabytes.
_CHUNK = 65_536

# Pseudo-weight of a given item's pairs: one single pair is a share of 1/2, as in `Covisitation`.
_PRIOR = 1.0

# Decimals of numbers in explanations.
_DECIMALS = 4

# Given items that are named per returned item.
_MOST_NAMED = 3


def similar(mirror: Mirror, request: SimilarRequest, limits: RetrievalLimits, *, seed: str = "") -> Answer:
    """Find items like given ones.

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
    left_out = np.unique(np.concatenate([excluded, given, state.items.ids.rows(request.filters.exclude)]))

    def allowed(own: ItemConditions) -> AllowedRows:
        return allowed_rows(state, request, left_out, conditions=own, budget=budget)

    likeness = _Likeness(state, request.by, given, now=now)

    def search(own: ItemConditions, count: int) -> SearchResult:
        # Boosts may lift items of any node.
        if request.exhaustive or likeness.by == "evidence" or own.boosts is not None:
            return likeness.compare_all(allowed(own), own, count)
        return likeness.compare_nearest(allowed(own), left_out, own, k=k, count=count)

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
        unreached=lambda row: _why_not_like(row, given, likeness.by),
    )
    return make_answer(
        state,
        request,
        selected,
        k=k,
        allowed=lambda: allowed(conditions).size,
        work=work,
        explanations=explanations,
        effective={"by": likeness.by},
    )


def _why_not_like(row: int, given: NDArray[np.int64], by: str) -> tuple[str, str]:
    """Say at which stage an allowed row fell out that has no score."""
    if row in given:
        return "given", "the query is for items like this one"
    if by == "evidence":
        return "not_scored", "there is no evidence that it is like the given items"
    return "node_not_opened", "its node is not among those nearest to the given items; ask with exhaustive"


class _Evidence(NamedTuple):
    """Shares of items in what users engage with around given ones.

    Attributes
    ----------
    rows : (n,) int64
        Ascending.
    shares : (G, n) float32
        Around each of the G given items.
    """

    rows: NDArray[np.int64]
    shares: NDArray[np.float32]

    @classmethod
    def counted(cls, state: EpochState, given: NDArray[np.int64], now: int) -> _Evidence:
        """Look up the pairs of `given` (G,), the larger share of both half-lives."""
        pairs = state.cross_features.covisitation
        neighbours, weights = pairs.counts(given, np.full(len(given), now))  # (G, 2, N)
        decay = decayed(np.maximum(now - pairs.last[given], 0))
        shares = weights / (_PRIOR + pairs.totals[given] * decay)[..., None]
        held = np.nonzero((neighbours >= 0) & (neighbours < len(state.index.vectors)) & (shares > 0))
        rows, place = np.unique(neighbours[held], return_inverse=True)
        found = np.zeros((len(given), len(rows)), np.float32)
        np.maximum.at(found, (held[0], place), shares[held].astype(np.float32))
        return cls(rows.astype(np.int64), found)

    def of(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the shares (G, m) of `rows` (m,)."""
        places = np.minimum(np.searchsorted(self.rows, rows), max(len(self.rows) - 1, 0))
        if not len(self.rows):
            return np.zeros((len(self.shares), len(rows)), np.float32)
        return np.where(self.rows[places] == rows, self.shares[:, places], np.float32(0))


class _Likeness:
    """How much items are like the given ones.

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
        nothing = _Evidence(np.zeros(0, np.int64), np.zeros((len(given), 0), np.float32))
        self._evidence = nothing if self.by == "model" else _Evidence.counted(state, given, now)

    def compare_all(self, allowed: AllowedRows, conditions: ItemConditions, count: int) -> SearchResult:
        """Find the best `count` of the allowed items by comparing each of them."""
        rows = allowed.all_rows()
        if self.by == "evidence" and conditions.boosts is None:  # an item without any is not like the given ones
            some = self._evidence.rows[self._evidence.rows < len(allowed.mask)]
            some = some[allowed.mask[some]]
            return self._best(some, conditions, count)._replace(scored=len(rows), candidates=len(rows))
        return self._best(rows, conditions, count)

    def compare_nearest(
        self, allowed: AllowedRows, left_out: NDArray[np.int64], conditions: ItemConditions, *, k: int, count: int
    ) -> SearchResult:
        """Find the best `count` of the allowed items of the nearest nodes, for an answer of `k`.

        `left_out` (n,) are the rows that may not be returned, ascending.
        """
        if allowed.rows is not None:
            return self._best(allowed.rows, conditions, count)
        index, opening = self._state.index, self._opening(k, filtered=conditions.mask is not None)
        nearest = self._nearness_of_leaves()
        if self._engine_knows_items():
            return self._scan(left_out, conditions, nearest=nearest, opening=opening, count=count)
        found = index.leaves.whole_leaves(nearest, opening, allowed.mask.take)
        evident = self._evidence.rows[self._evidence.rows < len(allowed.mask)]
        rows = np.union1d(found.rows, evident[allowed.mask[evident]])
        result = self._best(rows, conditions, count)
        complete = found.opened == np.count_nonzero(index.leaves.sizes)
        return result._replace(nodes=found.opened, certified=bool(complete))

    def _scan(
        self,
        left_out: NDArray[np.int64],
        conditions: ItemConditions,
        *,
        nearest: NDArray[np.float32],
        opening: Opening,
        count: int,
    ) -> SearchResult:
        """Find the same on the engine."""
        assert self._center is not None
        engine = self._state.index.engine
        assert engine is not None
        query = ScanQuery(
            vector=self._center,
            leaf_scores=np.zeros(len(nearest), np.float32),
            leaf_logits=nearest,
            mask=np.zeros(0, np.bool_) if conditions.mask is None else conditions.mask,
            boosts=np.zeros(0, np.float32),
            excluded=left_out,
            pair_rows=self._evidence.rows,
            pair_scores=self._evidence.shares.mean(0),
            departed_to=self._state.departed_to,
            cosine=True,
        )
        arrays = engine.records.arrays
        rows, _, _, compared, opened = scan_leaves(arrays, query, opening, min(count, len(arrays.row)))
        result = self._best(rows, conditions, count)
        complete = opened == np.count_nonzero(arrays.size)
        return result._replace(scored=compared, candidates=compared, nodes=opened, certified=bool(complete))

    def _opening(self, k: int, *, filtered: bool) -> Opening:
        """Return how far nodes are opened; behind a filter, until as many items are found as without one."""
        index, least = self._state.index, _COMPARED_PER_ITEM * k
        usual = min(MOST_DOTS, len(index.leaves) * _NODES // index.config.leaves)
        return Opening(_NODES, max(MOST_DOTS, least), max(least, usual) if filtered else least)

    def _nearness_of_leaves(self) -> NDArray[np.float32]:
        """Return how near every node is to the given items, (K,)."""
        assert self._center is not None
        directions = self._state.index.scorer.leaf_directions
        nearness: NDArray[np.float32] = directions @ self._center[: directions.shape[1]]
        return nearness

    def _engine_knows_items(self) -> bool:
        """Whether the engine's records hold all of the static vectors."""
        config = self._state.index.config
        return self._state.index.engine is not None and config.user_vectors >= config.item_vectors

    def _best(self, rows: NDArray[np.int64], conditions: ItemConditions, count: int) -> SearchResult:
        """Compare `rows` (n,), and find the best `count` of them."""
        scores = conditions.boosted(np.sum(list(self._parts(rows).values()), axis=0), rows)
        best, values = top_k_rows(rows, scores.astype(np.float32), count)
        return SearchResult(best, values, len(rows), len(rows), nodes=0, certified=True)

    def reasons(self, conditions: ItemConditions, rows: NDArray[np.int64]) -> list[Reason]:
        """Give the reasons of returned rows (n,)."""
        parts = self._parts(rows) | {"boost": conditions.boosted(np.zeros(len(rows)), rows)}
        names, evidence = self._state.items.ids.ids, self._evidence.of(rows)
        reasons = []
        for place, shares in enumerate(evidence.T):
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
            parts["evidence"] = self._evidence.of(rows).mean(0).astype(np.float64)
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
