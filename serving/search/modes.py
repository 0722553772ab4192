"""The retrieval modes: one search function for each."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hsnn.serving.errors import RequestError
from hsnn.serving.limits import RetrievalLimits
from hsnn.serving.mirror.item_vectors import ItemVectors
from hsnn.serving.mirror.mirror import EpochState
from hsnn.serving.schema import RetrievalMode
from hsnn.serving.search import exact
from hsnn.serving.search.filters import AllowedRows
from hsnn.serving.search.topk import SearchResult, top_k
from hsnn.trainer.model.scorer import EncodedQueries, QueryArrays
from hsnn.trainer.retrieval.score_bounds import DotQuery
from hsnn.trainer.rowstore.arrays import gather_rows

AllItemsSearch = Callable[[ItemVectors, DotQuery, NDArray[np.bool_], int], SearchResult]
"""Finds the best k of the allowed items among all item vectors."""


class SearchContext(NamedTuple):
    """The requests of one chunk, encoded, and the state that they are answered from.

    Attributes
    ----------
    state : EpochState
    limits : RetrievalLimits
    queries : QueryArrays
    encoded : EncodedQueries or None
        None if no request of the chunk needs the model.
    """

    state: EpochState
    limits: RetrievalLimits
    queries: QueryArrays
    encoded: EncodedQueries | None

    @property
    def beam(self) -> int:
        """Nodes opened per request."""
        return self.limits.beam or self.state.index.config.beam

    @property
    def budget(self) -> int:
        """Items scored per request, at most."""
        return self.limits.budget or self.state.index.config.budget

    def time_of(self, number: int) -> int:
        """Time at which states are read for the request `number`, epoch ms."""
        return int(self.queries.now[number])


def beam_search(context: SearchContext, number: int, allowed: AllowedRows, k: int) -> SearchResult:
    """Score the best candidates of the beam's nodes; with few allowed rows, the best of these without a beam."""
    assert context.encoded is not None
    leaves = context.state.index.leaves
    if allowed.rows is not None:
        rows = leaves.select_best(allowed.rows, context.encoded.leaf_log_probs[number], context.budget).rows
        return _score_rows(context, number, rows, allowed=allowed, k=k, candidates=len(allowed.rows))
    found = leaves.candidates(context.encoded.beam_log_probs[number], context.beam, context.budget, allowed.mask.take)
    # Scores must not depend on the other requests of the chunk, which decide whether `nodes` is complete.
    encoded = context.encoded._replace(leaf_log_probs=context.encoded.beam_log_probs)
    result = _score_rows(
        context._replace(encoded=encoded), number, found.rows, allowed=allowed, k=k, candidates=found.considered
    )
    return result._replace(nodes=found.opened)


def exact_search(context: SearchContext, number: int, allowed: AllowedRows, k: int) -> SearchResult:
    """Find the exhaustive top k, proven by score bounds."""
    if not context.state.index.scorer.has_dot_product_scores:
        raise RequestError(
            "mode 'exact' needs an item level that is a dot product, and this model's is none; "
            "mode 'exhaustive' gives the same items by scoring them all"
        )
    return _search_all(context, number, allowed, k=k, search=exact.search)


def exhaustive_search(context: SearchContext, number: int, allowed: AllowedRows, k: int) -> SearchResult:
    """Score all allowed items."""
    return _search_all(context, number, allowed, k=k, search=exact.score_all)


def popularity_filter_search(context: SearchContext, number: int, allowed: AllowedRows, k: int) -> SearchResult:
    """Score the allowed items with the most traffic."""
    rows = allowed.all_rows()
    popular = rows[top_k(_log_traffic(context.state, rows), context.budget)]
    return _score_rows(context, number, popular, allowed=allowed, k=k, candidates=len(rows))


def popularity_search(context: SearchContext, number: int, allowed: AllowedRows, k: int) -> SearchResult:
    """Return the allowed items with the most traffic, without a model; scores are decayed counts."""
    state, rows = context.state, allowed.all_rows()
    best = rows[top_k(_log_traffic(state, rows), k)]
    counts = state.states.counts(best, context.time_of(number))[:, state.half_life]
    return SearchResult(best, counts, scored=0, candidates=len(rows), nodes=0, certified=False)


SearchFunction = Callable[[SearchContext, int, AllowedRows, int], SearchResult]
"""Searches for the request of a number among the allowed rows, for k items."""

SEARCH_FUNCTIONS: dict[RetrievalMode, SearchFunction] = {
    RetrievalMode.BEAM: beam_search,
    RetrievalMode.EXACT: exact_search,
    RetrievalMode.EXHAUSTIVE: exhaustive_search,
    RetrievalMode.POPULARITY: popularity_search,
    RetrievalMode.POPULARITY_FILTER: popularity_filter_search,
}


def _search_all(
    context: SearchContext, number: int, allowed: AllowedRows, *, k: int, search: AllItemsSearch
) -> SearchResult:
    """Search all allowed items; if they fit into the budget, or no bounds exist, score them one by one."""
    rows, scorer = allowed.all_rows(), context.state.index.scorer
    if len(rows) <= context.budget or not scorer.has_dot_product_scores:
        return _score_rows(context, number, rows, allowed=allowed, k=k, candidates=len(rows))
    assert context.encoded is not None
    items = context.state.item_vectors(context.time_of(number))
    return search(items, scorer.dot_query(context.encoded, number), allowed.full_mask(), k)


def _log_traffic(state: EpochState, rows: NDArray[np.int64]) -> NDArray[np.float64]:
    """Log traffic (n,) of rows (n,) at the half-life in use."""
    return state.states.log_mass(rows, state.half_life, 0)


def _score_rows(
    context: SearchContext,
    number: int,
    rows: NDArray[np.int64],
    *,
    allowed: AllowedRows,
    k: int,
    candidates: int,
) -> SearchResult:
    """Score `rows` (n,) by the item level and keep the best `k`, for the request `number`.

    Rows are scored in ascending order, so that in every mode the older of two items with equal scores comes first.
    """
    assert context.encoded is not None
    state, index, rows = context.state, context.state.index, np.sort(rows)
    features = state.states.features(rows, context.time_of(number))
    cross = state.cross_features.features(context.queries, number, rows) if index.config.cross else None
    vectors, nodes = gather_rows(index.vectors, rows), gather_rows(index.leaves.node_of, rows)
    scores = index.scorer.score(context.encoded, number, vectors, features, nodes=nodes, cross=cross)
    best = top_k(scores, k)
    return SearchResult(
        rows=rows[best],
        scores=scores[best],
        scored=len(rows),
        candidates=candidates,
        nodes=0,
        certified=len(rows) == allowed.size,
    )
