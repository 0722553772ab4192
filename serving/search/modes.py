"""The retrieval modes: one search function for each."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hsnn.serving.errors import RequestError
from hsnn.serving.limits import RetrievalLimits
from hsnn.serving.mirror.epoch_state import EpochState
from hsnn.serving.mirror.item_vectors import ItemVectors
from hsnn.serving.schema import RetrievalMode
from hsnn.serving.search import exact
from hsnn.serving.search.conditions import ItemConditions
from hsnn.serving.search.filters import AllowedRows
from hsnn.serving.search.topk import SearchResult, top_k, top_k_rows
from hsnn.trainer.features.user_memory import MemoryEntries
from hsnn.trainer.model.scorer import EncodedQueries, QueryArrays
from hsnn.trainer.retrieval.cascade import CandidateSource, MergedCandidates
from hsnn.trainer.retrieval.index_recall import item_limit
from hsnn.trainer.retrieval.inverted_lists import BeamCandidates
from hsnn.trainer.retrieval.leaf_scan import Opening
from hsnn.trainer.retrieval.pair_scores import PairScores
from hsnn.trainer.retrieval.score_bounds import DotQuery
from hsnn.trainer.rowstore.arrays import gather_rows

AllItemsSearch = Callable[[ItemVectors, DotQuery, NDArray[np.bool_], int], SearchResult]
"""Finds the best k of the allowed items among all item vectors."""


# Dot products per item of an answer, at least: with four, an answer of 500 items lacks some of the best.
_DOTS_PER_ITEM = 8


class SearchContext(NamedTuple):
    """The requests of one chunk, encoded, the conditions of one of them, and the state that they are answered from.

    Attributes
    ----------
    state : EpochState
    limits : RetrievalLimits
    queries : QueryArrays
    encoded : EncodedQueries or None
        None if no request of the chunk needs the model.
    pairs : list of PairScores or None
        Scores of the pair facts of each request; None without the model, or if it uses none.
    conditions : ItemConditions
        Those of the request that is searched for.
    memory : MemoryEntries or None
        What is remembered of the users; None where nobody asks for explanations.
    """

    state: EpochState
    limits: RetrievalLimits
    queries: QueryArrays
    encoded: EncodedQueries | None
    pairs: list[PairScores] | None
    conditions: ItemConditions = ItemConditions()
    memory: MemoryEntries | None = None

    @property
    def beam(self) -> int:
        """Nodes opened per request."""
        return beam_width(self.state, self.limits)

    @property
    def dots(self) -> int:
        """Items that the index yields per request, at most: a dot product is computed of each."""
        return item_limit(self.state.index_share, self.state.corpus, self.budget)

    @property
    def budget(self) -> int:
        """Items scored per request, at most."""
        return self.limits.budget or self.state.index.config.budget

    def full_scores(self, k: int) -> int:
        """Items that the full scorer gets for an answer of `k`, at most."""
        return max(self.budget, k + k // 4) if self.limits.whole_leaves else self.budget

    def opening(self, k: int) -> Opening:
        """Return how far leaves are opened for an answer of `k` items."""
        dots = item_limit(self.state.index_share, self.state.corpus, max(self.budget, _DOTS_PER_ITEM * k))
        return Opening(self.beam, dots, k if self.conditions.mask is None else dots)

    def time_of(self, number: int) -> int:
        """Time at which states are read for the request `number`, epoch ms."""
        return int(self.queries.now[number])


def beam_width(state: EpochState, limits: RetrievalLimits) -> int:
    """Return how many nodes are opened per request: all of them until the index has proven itself."""
    config = state.index.config
    return limits.beam or (config.beam if state.index_share < 1 else config.leaves)


def beam_search(context: SearchContext, number: int, allowed: AllowedRows, k: int) -> SearchResult:
    """Score the best candidates of the beam's nodes and of the other sources, chosen by dot product.

    With few allowed rows, these are the candidates, without a beam.
    """
    assert context.encoded is not None
    encoded, opened = context.encoded, 0
    if allowed.rows is not None:
        considered, found = len(allowed.rows), {CandidateSource.INDEX: allowed.rows}
    else:
        filtered = context.limits.whole_leaves and context.conditions.mask is not None
        if context.pairs is None and not filtered:
            # Scores must not depend on the other requests of the chunk, which decide whether all leaves have a logit.
            encoded = encoded._replace(leaf_log_probs=encoded.beam_log_probs)
            context = context._replace(encoded=encoded)
        # Behind a filter any leaf may have to be opened.
        logits = encoded.leaf_log_probs if filtered else encoded.beam_log_probs
        beam = _opened(context, logits[number], allowed, k)
        opened, considered = beam.opened, beam.considered
        found = {CandidateSource.INDEX: beam.rows} | pair_candidates(context, number, allowed)
    candidates = MergedCandidates.merged(found)
    chosen = candidates
    budget = context.full_scores(k)
    if len(candidates.rows) > budget:
        chosen = candidates.best(order_scores(context, number, candidates.rows), budget)
    result = _score_rows(context, number, chosen.rows, allowed=allowed, k=k, candidates=considered)
    return result._replace(nodes=opened, dots=len(candidates.rows), sources=chosen.counts())


def _opened(context: SearchContext, logits: NDArray[np.float32], allowed: AllowedRows, k: int) -> BeamCandidates:
    """Select the candidates that the index yields for one request, from log probabilities of the leaves (K,)."""
    leaves = context.state.index.leaves
    if not context.limits.whole_leaves:
        return leaves.candidates(logits, context.beam, context.dots, allowed.mask.take)
    return leaves.whole_leaves(logits, context.opening(k), allowed.mask.take)


def pair_candidates(
    context: SearchContext, number: int, allowed: AllowedRows
) -> dict[CandidateSource, NDArray[np.int64]]:
    """Return the allowed rows that pair facts name: neighbours of the user's last items, and past items."""
    if context.pairs is None:
        return {}
    pairs = context.pairs[number]
    pairs = pairs.select(pairs.rows < len(allowed.mask))
    pairs = pairs.select(allowed.mask[pairs.rows])
    return {CandidateSource.NEIGHBOURS: pairs.rows[pairs.near], CandidateSource.MEMORY: pairs.rows[~pairs.near]}


def order_scores(context: SearchContext, number: int, rows: NDArray[np.int64]) -> NDArray[np.float32]:
    """Compute the scores (n,) by which ascending `rows` (n,) are chosen for the full scorer: one dot product each."""
    assert context.encoded is not None
    state, index = context.state, context.state.index
    query = index.scorer.dot_query(context.encoded, number)
    vectors, nodes = gather_rows(index.vectors, rows), gather_rows(index.leaves.node_of, rows)
    leaf = np.where(nodes >= 0, query.nodes[np.maximum(nodes, 0)], query.nodes.min())
    static = vectors[:, : query.split] @ query.vector[: query.split] + vectors[:, -1]
    changing = index.state_vectors.scores(rows, query.vector[query.split :], state.states, context.time_of(number))
    scores: NDArray[np.float32] = context.conditions.boosted(static + changing + leaf, rows)
    return scores if context.pairs is None else context.pairs[number].added_to(scores, rows)


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
    """Return the allowed items with the most traffic, without a model; scores are decayed counts.

    A boost is added to the log of the count.
    """
    state, rows = context.state, allowed.all_rows()
    best = rows[top_k(context.conditions.boosted(_log_traffic(state, rows), rows), k)]
    counts: NDArray[np.floating] = state.states.counts(best, context.time_of(number))[:, state.half_life]
    if context.conditions.boosts is not None:
        counts = counts * np.exp(context.conditions.boosted(np.zeros(len(best)), best))
    return SearchResult(best, counts, scored=0, candidates=len(rows), nodes=0, certified=False)


def covisitation_search(context: SearchContext, number: int, allowed: AllowedRows, k: int) -> SearchResult:
    """Return the allowed items that are most often engaged with next to the user's last ones, without a model.

    Scores are the larger of their shares at both half-lives (`hsnn.trainer.features.covisitation`). Places that are
    left go to the most popular others, with a share of 0; a model that counts no pairs gives these alone.
    """
    state, rows, conditions = context.state, allowed.all_rows(), context.conditions
    shares = np.zeros(len(rows), np.float32)
    if state.index.config.counts_pairs:
        pairs, history = state.cross_features.covisitation, context.queries.history_items[number]
        shares = pairs.scores_of_query(history, context.time_of(number), rows).max(1)
    near = np.flatnonzero(shares)
    best = near[top_k(conditions.boosted(shares[near], rows[near]), k)]
    if len(best) < k:
        others = np.flatnonzero(shares == 0)
        popular = top_k(conditions.boosted(_log_traffic(state, rows[others]), rows[others]), k - len(best))
        best = np.concatenate([best, others[popular]])
    scores: NDArray[np.floating] = conditions.boosted(shares[best], rows[best])
    return SearchResult(rows[best], scores, scored=0, candidates=len(rows), nodes=0, certified=False)


def latest_search(context: SearchContext, number: int, allowed: AllowedRows, k: int) -> SearchResult:  # noqa: ARG001
    """Return the allowed items that were seen first most recently; scores are these times, epoch ms."""
    rows = allowed.all_rows()
    first = context.state.states.first[rows].astype(np.float64)
    best = top_k(first, k)
    return SearchResult(rows[best], first[best], scored=0, candidates=len(rows), nodes=0, certified=True)


SearchFunction = Callable[[SearchContext, int, AllowedRows, int], SearchResult]
"""Searches for the request of a number among the allowed rows, for k items."""

SEARCH_FUNCTIONS: dict[RetrievalMode, SearchFunction] = {
    RetrievalMode.BEAM: beam_search,
    RetrievalMode.EXACT: exact_search,
    RetrievalMode.EXHAUSTIVE: exhaustive_search,
    RetrievalMode.POPULARITY: popularity_search,
    RetrievalMode.COVISITATION: covisitation_search,
    RetrievalMode.POPULARITY_FILTER: popularity_filter_search,
    RetrievalMode.LATEST: latest_search,
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
    query, mask = scorer.dot_query(context.encoded, number), allowed.mask
    if context.conditions.boosts is not None:  # bounds know of none
        zeros = np.zeros(len(items.rows), np.float32)
        items, search = items.with_added(context.conditions.boosted(zeros, items.rows)), exact.score_all
    if context.pairs is None:
        return search(items, query, mask, k)
    return _search_with_pairs(items, query, mask, k, search=search, pairs=context.pairs[number])


def _search_with_pairs(
    items: ItemVectors,
    query: DotQuery,
    mask: NDArray[np.bool_],
    k: int,
    *,
    search: AllItemsSearch,
    pairs: PairScores,
) -> SearchResult:
    """Score the items that have pair facts outright, and search among the others, whose bounds hold without any."""
    places = np.full(len(mask), -1, np.int64)
    places[items.rows] = np.arange(len(items.rows))
    pairs = pairs.select(pairs.rows < len(mask))
    pairs = pairs.select(mask[pairs.rows] & (places[pairs.rows] >= 0))
    others = mask.copy()
    others[pairs.rows] = False
    result = search(items, query, others, k)
    scores = items.vectors.scores(query, places[pairs.rows]) + pairs.scores
    rows, best = top_k_rows(np.r_[result.rows, pairs.rows], np.r_[result.scores, scores], k)
    count = len(pairs.rows)
    return result._replace(rows=rows, scores=best, scored=result.scored + count, candidates=result.candidates + count)


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
    rows = np.sort(rows)
    scores = score_rows(context, number, rows)
    best = top_k(scores, k)
    return SearchResult(
        rows=rows[best],
        scores=scores[best],
        scored=len(rows),
        candidates=candidates,
        nodes=0,
        certified=len(rows) == allowed.size,
    )


def score_rows(context: SearchContext, number: int, rows: NDArray[np.int64]) -> NDArray[np.float32]:
    """Score ascending `rows` (n,) by the item level, for the request `number`: (n,)."""
    assert context.encoded is not None
    state, index = context.state, context.state.index
    features = state.states.features(rows, context.time_of(number))
    cross = state.cross_features.features(context.queries, number, rows) if index.config.cross else None
    vectors, nodes = gather_rows(index.vectors, rows), gather_rows(index.leaves.node_of, rows)
    scores = index.scorer.score(context.encoded, number, vectors, features, nodes=nodes, cross=cross)
    scores = context.conditions.boosted(scores, rows)
    return scores if context.pairs is None else context.pairs[number].added_to(scores, rows)
