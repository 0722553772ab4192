"""Batch of queries that all methods answer: the queries, the retrievable items, and a model's score for each pair."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hsnn.evaluation.methods import TOP_K
from hsnn.evaluation.metrics.ranks import MISS, top_k
from hsnn.evaluation.queries.query_sampling import SampledQueries
from hsnn.serving.mirror.epoch_state import EpochState
from hsnn.serving.search.queries import facts_of_queries, queries_from_requests, remembered_items
from hsnn.trainer.model.scorer import EncodedQueries, QueryArrays, Scorer
from hsnn.trainer.modules.cross_inputs import cross_features


class ModelView(NamedTuple):
    """Queries and items as one model encodes them.

    Attributes
    ----------
    scorer : Scorer
    encoded : EncodedQueries
        The queries.
    vectors : (rows, W) float32
        Static item vectors.
    nodes : (rows,) int32
        Node of each item, -1 for none.
    """

    scorer: Scorer
    encoded: EncodedQueries
    vectors: NDArray[np.float32]
    nodes: NDArray[np.int32]


class MethodResult(NamedTuple):
    """Result of one method at one setting for a batch of queries.

    Attributes
    ----------
    ranks : (B,) float64
        Ranks of the targets; 0 = first, `MISS` if not returned.
    top : (B, <= TOP_K) int64 or None
        Positions of the first items in any order, -1 padded; None where only ranks are known.
    scored : (B,) int64 or None
        Items scored; None where it is the same number for every query.
    dots : (B,) int64 or None
        Dot products computed to choose the items that are scored; None for none.
    """

    ranks: NDArray[np.float64]
    top: NDArray[np.int64] | None
    scored: NDArray[np.int64] | None = None
    dots: NDArray[np.int64] | None = None

    @classmethod
    def nothing(cls, count: int) -> MethodResult:
        """Make the result of a method that returns no item for `count` queries.

        Examples
        --------
        >>> MethodResult.nothing(2).ranks.tolist()
        [inf, inf]
        """
        return cls(np.full(count, MISS), np.full((count, 1), -1), np.zeros(count, np.int64))


class QueryBatch:
    """Queries against a mirror that does not know their batch yet.

    A *position* is an item's index among the retrievable items; -1 means that the item is not one of them.

    Parameters
    ----------
    state
        What the mirror holds; not to be changed while the batch is in use. None before the first version of the index:
        then `known` items are retrievable, and there is nothing to score them with.
    sampled
    known : (N,) int64
        Rows of the items seen so far, ascending; used without a `state` only.

    Attributes
    ----------
    sampled : SampledQueries
    rows : (N,) int64
        Rows of the retrievable items, ascending.
    row_limit : int
        Larger than all `rows`.
    targets : (B,) int64
        Positions of the targets.
    excluded : (B, E) int64
        Positions of the user's past items that no method may return, each once.
    """

    def __init__(
        self, state: EpochState | None, sampled: SampledQueries, known: NDArray[np.int64] | None = None
    ) -> None:
        self.sampled, self._state = sampled, state
        if state is None:
            self.rows = np.zeros(0, np.int64) if known is None else known
            self.row_limit = int(self.rows.max(initial=-1)) + 1
        else:
            index, alive = state.index, state.alive()
            self._queries = queries_from_requests(state, sampled.requests)
            self._encoded = index.scorer.encode(self._queries, index.vectors, index.leaves.node_log_share())
            self.rows, self.row_limit = np.flatnonzero(alive), len(alive)
        self._position_of_row = np.full(self.row_limit + 1, -1, np.int64)  # the last entry stands for unknown rows
        self._position_of_row[self.rows] = np.arange(len(self.rows))
        self.targets = self.positions(sampled.target_rows)
        self.excluded = self.positions(sampled.excluded)

    @property
    def has_index(self) -> bool:
        """Whether there is an index; without one only counting methods can answer."""
        return self._state is not None

    @property
    def state(self) -> EpochState:
        """What the mirror holds; `has_index` must be true."""
        assert self._state is not None
        return self._state

    @property
    def queries(self) -> QueryArrays:
        """The requests as model inputs; `has_index` must be true."""
        return self._queries

    @property
    def encoded(self) -> EncodedQueries:
        """The queries encoded by the served model; `has_index` must be true."""
        return self._encoded

    def __len__(self) -> int:
        return len(self.sampled.target_rows)

    @property
    def excludes_target(self) -> NDArray[np.bool_]:
        """Whether the target is one of the excluded items (B,): then it is a miss for every method."""
        excluded = self.sampled.excluded
        found: NDArray[np.bool_] = ((excluded == self.sampled.target_rows[:, None]) & (excluded >= 0)).any(1)
        return found

    def positions(self, rows: NDArray[np.integer]) -> NDArray[np.int64]:
        """Positions of `rows`, of any shape; -1 where a row is not retrievable."""
        unknown = self.row_limit
        return self._position_of_row[np.where((rows < 0) | (rows >= unknown), unknown, rows)]

    def served_view(self) -> ModelView:
        """Return the view of the served model."""
        index = self.state.index
        return ModelView(index.scorer, self.encoded, index.vectors, index.leaves.node_of)

    def score(self, views: Sequence[ModelView]) -> list[NDArray[np.float32]]:
        """Score all items with each model, each query at its own time: (B, N) per view, excluded items at -inf.

        State features are computed once per distinct time and shared by all models and queries: they are most of the
        work, and because decay is exact they cannot be reused for another time.
        """
        if not views:
            return []
        scores = [np.empty((len(self), len(self.rows)), np.float32) for _ in views]
        items = [(view.vectors[self.rows], view.nodes[self.rows]) for view in views]
        for numbers, features in self._state_features():
            for view, (vectors, nodes), output in zip(views, items, scores, strict=True):
                cross = self._cross_features(numbers) if view.scorer.config.cross else None
                encoded = view.encoded.select(numbers)
                output[numbers] = view.scorer.score_all(encoded, vectors, features, nodes, cross=cross)
        for view, output in zip(views, scores, strict=True):
            if view.scorer.config.pair_features:
                memory = remembered_items(self.state, self.queries, self.sampled.requests)
                pairs = view.scorer.pair_logits(facts_of_queries(self.state, self.queries, memory))
                places = self.positions(pairs.rows)
                known = places >= 0
                output[pairs.query[known], places[known]] += pairs.scores[known]
            self.mask_excluded(output)
        return scores

    def mask_excluded(self, scores: NDArray[np.floating]) -> None:
        """Set the excluded items of each query to -inf, in place, in `scores` (B, N)."""
        number, column = np.nonzero(self.excluded >= 0)
        scores[number, self.excluded[number, column]] = -np.inf

    def top_positions(self, scores: NDArray[np.floating]) -> NDArray[np.int64]:
        """Positions of the `TOP_K` best items by `scores` (B, N), in any order: (B, <= TOP_K)."""
        return top_k(scores, TOP_K)

    def _cross_features(self, numbers: NDArray[np.int64]) -> NDArray[np.float32]:
        """Cross features (b, N, C) of some queries with all items."""
        tables, queries = self.state.cross_features, self.queries.select(numbers)
        return cross_features(queries, tables.tokens, self.rows, tables.covisitation)

    def _state_features(self) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float32]]]:
        """Yield for each distinct time the numbers (b,) of its queries and the state features (N, F) of all items."""
        times, time_index = np.unique(self.queries.now, return_inverse=True)
        for index, now in enumerate(times.tolist()):
            yield np.flatnonzero(time_index == index), self.state.states.features(self.rows, now)


def top_of_order(
    order: NDArray[np.int64], scores: NDArray[np.floating], budget: int | None = None
) -> NDArray[np.int64]:
    """Positions of the `TOP_K` best of the first `budget` candidates, -1 padded.

    Parameters
    ----------
    order : (B, M) or (M,)
        Positions of the candidates in the order in which they are scored, -1 padded.
    scores : (B, N)
        Of all items; a candidate at -inf is skipped and uses no budget.
    budget
        None: all candidates.
    """
    order = np.broadcast_to(order, (len(scores), order.shape[-1]))
    candidates = np.where(order >= 0, np.take_along_axis(scores, np.maximum(order, 0), 1), -np.inf)  # (B, M)
    if budget is not None:
        candidates = np.where(np.cumsum(np.isfinite(candidates), 1) <= budget, candidates, -np.inf)
    best = top_k(candidates, TOP_K)
    return np.where(best >= 0, np.take_along_axis(order, np.maximum(best, 0), 1), -1)
