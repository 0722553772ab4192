"""Search on the compiled engine: towers, leaves, dot products and full scores without the interpreter.

The mode ``beam`` opens some leaves, and scores the best of their items fully. The modes ``exact`` and ``exhaustive`` go
through all leaves: the former until bounds prove that the rest holds nothing better.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hsnn.serving.limits import RetrievalLimits
from hsnn.serving.mirror.epoch_state import EpochState
from hsnn.serving.schema import Request, RetrievalMode
from hsnn.serving.search.filters import searched_directly
from hsnn.serving.search.modes import SearchContext, score_rows
from hsnn.serving.search.topk import SearchResult
from hsnn.trainer.retrieval.cascade import CandidateSource
from hsnn.trainer.retrieval.item_scores import ScoringColumns, score_items
from hsnn.trainer.retrieval.leaf_scan import Floats, LeafArrays, Rows, ScanQuery, scan_leaves, scan_rows, sorted_best
from hsnn.trainer.retrieval.leaf_search import UpperBounds, search_leaves
from hsnn.trainer.retrieval.request_pairs import count_pairs
from hsnn.trainer.retrieval.user_towers import UserInputs, encode_user

# Time between a request's states and those of the records, ms, beyond which the reference path answers: in ten seconds
# decay moves a score by a thousandth.
_STALE_MS = 10_000

# Modes that find the best of all items.
_EVERY_LEAF = (RetrievalMode.EXACT, RetrievalMode.EXHAUSTIVE)

# Names of the sources, as `MergedCandidates.counts` writes them.
_MEMORY, _NEIGHBOURS, _INDEX = (source.name.lower() for source in CandidateSource)

_NO_ROWS: Rows = np.zeros(0, np.int64)
_NO_FLOATS: Floats = np.zeros(0, np.float32)
_NO_MASK: NDArray[np.bool_] = np.zeros(0, np.bool_)


class _Encoded(NamedTuple):
    """One encoded request: user vector, log probabilities of all leaves and of those reached, nodes scored."""

    vector: Floats
    log_probs: Floats
    reached: Floats
    scored: int


def answers_by_engine(state: EpochState, mode: str, limits: RetrievalLimits, now: int) -> bool:
    """Whether the engine searches for a request of this mode, for states at `now`, epoch ms."""
    engine = state.index.engine
    if engine is None:
        return False
    if mode == RetrievalMode.BEAM:
        return limits.whole_leaves and abs(now - engine.records.as_of) <= _STALE_MS
    return mode in _EVERY_LEAF and state.index.scorer.has_dot_product_scores


def encoded_by_engine(state: EpochState, request: Request, limits: RetrievalLimits) -> bool:
    """Whether the engine encodes a request, too, and answers it."""
    engine = state.index.engine
    return (
        engine is not None
        and engine.towers is not None
        and not (request.explain or request.why_not)
        and answers_by_engine(state, request.mode, limits, state.time_of(request.as_of))
    )


def engine_search(context: SearchContext, number: int, excluded: Rows, k: int) -> SearchResult:
    """Answer the request `number` of a chunk as `hsnn.serving.search.modes.beam_search` does with whole leaves.

    `excluded` (n,) are the rows that are left out, ascending.
    """
    conditions, arrays = context.conditions, _arrays(context)
    direct = conditions.mask if searched_directly(conditions, context.budget) else None
    encoded = _encode(context, number, every_leaf=context.pairs is not None or conditions.mask is not None)
    query = _scan_query(context, number, encoded, excluded)
    wanted, opened = context.full_scores(k), 0
    if direct is not None:
        rows, _, considered = scan_rows(arrays, query, np.flatnonzero(direct), wanted)
        dots, complete = considered, True
    else:
        rows, _, considered, dots, opened = scan_leaves(arrays, query, context.opening(k), wanted)
        complete = opened == np.count_nonzero(arrays.size)
    scores = _full_scores(context, number, query, rows)
    scored, sources = len(rows), _sources(context, number, rows, direct=direct is not None)
    certified = bool(complete and scored == considered)
    scores, rows = sorted_best(scores, rows, k)
    return SearchResult(
        rows=rows,
        scores=scores,
        scored=scored,
        candidates=considered,
        nodes=opened,
        certified=certified,
        dots=dots,
        sources=sources,
        evaluations=encoded.scored,
    )


def engine_search_all(context: SearchContext, number: int, excluded: Rows, k: int, *, bounded: bool) -> SearchResult:
    """Find the best k of all items for the request `number` of a chunk, with `bounded` by as few scores as it takes.

    `excluded` (n,) are the rows that are left out, ascending. Items and scores are the same, bounded or not, to the
    last bit; up to rounding they are those of `hsnn.serving.search.modes.exhaustive_search`.
    """
    conditions, arrays = context.conditions, _arrays(context)
    encoded = _encode(context, number, every_leaf=True, beam=False)
    query = _scan_query(context, number, encoded, excluded)
    if conditions.mask is not None and np.count_nonzero(conditions.mask) <= context.budget:
        listed = np.flatnonzero(conditions.mask)
        rows, _, scored = scan_rows(arrays, query, listed, len(listed))
        scores, rows = sorted_best(_full_scores(context, number, query, rows), rows, k)
        candidates, opened = scored, 0
    else:
        every = context.state.every_item(context.time_of(number))
        query = query._replace(mask=_allowed(query, len(arrays.place)))
        upper = UpperBounds.none(len(arrays.start))
        if bounded:
            upper = UpperBounds.of_request(every.bounds, query, len(query.vector) - every.states.vectors.shape[1])
        order = np.argsort(-upper.leaves, kind="stable")
        rows, scores, scored, candidates, opened = search_leaves(
            arrays, every.states, query, order=order, upper=upper, wanted=k
        )
    return SearchResult(
        rows=rows,
        scores=scores,
        scored=scored,
        candidates=candidates,
        nodes=opened,
        certified=True,
        evaluations=encoded.scored,
    )


def _arrays(context: SearchContext) -> LeafArrays:
    assert context.state.index.engine is not None
    return context.state.index.engine.records.arrays


def _scan_query(context: SearchContext, number: int, encoded: _Encoded, excluded: Rows) -> ScanQuery:
    engine, conditions = context.state.index.engine, context.conditions
    assert engine is not None
    pairs = None if context.pairs is None else context.pairs[number]
    return ScanQuery(
        vector=encoded.vector,
        leaf_scores=engine.leaf_scores(encoded.log_probs),
        leaf_logits=encoded.reached,
        mask=_NO_MASK if conditions.mask is None else conditions.mask,
        boosts=_NO_FLOATS if conditions.boosts is None else conditions.boosts,
        excluded=excluded,
        pair_rows=_NO_ROWS if pairs is None else pairs.rows,
        pair_scores=_NO_FLOATS if pairs is None else pairs.scores,
        departed_to=context.state.departed_to,
    )


def _allowed(query: ScanQuery, rows: int) -> NDArray[np.bool_]:
    """Return which rows (rows,) pass the filters and are not left out, as a new array."""
    mask = query.mask.copy() if len(query.mask) else np.ones(rows, np.bool_)
    mask[query.excluded[(query.excluded >= 0) & (query.excluded < len(mask))]] = False
    return mask


def _encode(context: SearchContext, number: int, *, every_leaf: bool, beam: bool = True) -> _Encoded:
    """Encode one request; `every_leaf`: with the log probabilities of all leaves, not only of those reached.

    Without `beam`, all leaves count as reached.
    """
    index, encoded = context.state.index, context.encoded
    assert index.engine is not None
    if index.engine.towers is None:
        assert encoded is not None
        reached = encoded.beam_log_probs[number]
        log_probs = encoded.leaf_log_probs[number] if every_leaf else reached
        if context.conditions.mask is not None:
            reached = log_probs
        vector = index.scorer.dot_query(encoded, number).vector
        return _Encoded(vector, log_probs, reached, encoded.nodes_scored)
    config, queries = index.config, context.queries
    user = UserInputs(
        history=np.ascontiguousarray(queries.history_items[number]),
        times=np.ascontiguousarray(queries.history_times[number]),
        tokens=queries.feature_rows(config.buckets)[number],
        split=config.user_tokens,
        now=context.time_of(number),
    )
    towers, shares = index.engine.towers, index.engine.log_shares(index.leaves)
    every = every_leaf and len(config.levels) > 1
    width = config.leaves if every else context.beam
    vector, log_probs, scored = encode_user(towers, user, index.vectors, shares, beam=width)
    reached = log_probs
    if every and beam and context.conditions.mask is None:
        _, reached, scored = encode_user(towers, user, index.vectors, shares, beam=context.beam)
    return _Encoded(vector, log_probs, reached, scored)


def _full_scores(context: SearchContext, number: int, query: ScanQuery, rows: Rows) -> Floats:
    """Score `rows` (n,) by the item level, as of the request: (n,)."""
    index, states = context.state.index, context.state.states
    assert index.engine is not None
    if index.engine.towers is None:
        order = np.argsort(rows)
        scores: Floats = np.empty(len(rows), np.float32)
        scores[order] = score_rows(context, number, rows[order])
        return scores
    columns = ScoringColumns(
        vectors=index.vectors,
        leaf=index.leaves.node_of,
        values=states.values,
        last=states.last,
        first=states.first,
        half_life=states.half_life,
        now=context.time_of(number),
    )
    return score_items(query, rows, columns, index.engine.state_tower)


def _sources(context: SearchContext, number: int, rows: Rows, *, direct: bool) -> dict[str, int]:
    """Count `rows` (n,) by where they come from."""
    near = past = 0
    if context.pairs is not None and not direct:
        pairs = context.pairs[number]
        near, past = count_pairs(rows, pairs.rows, pairs.near)
    counts = {_MEMORY: past, _NEIGHBOURS: near, _INDEX: len(rows) - near - past}
    return {source: count for source, count in counts.items() if count}
