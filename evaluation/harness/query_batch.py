"""Where all methods meet: one batch's queries, the living items, and the model's score of each for each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hsnn.evaluation.harness.query_sampling import Asked
from hsnn.evaluation.metrics.ranks import top
from hsnn.serving.mirror.mirror import EpochState
from hsnn.serving.search.beam import queries_from_requests
from hsnn.trainer.features.cross_features import cross_features
from hsnn.trainer.model.scorer import Encoded, Scorer

TOP = 20
"""Items of an answer that coverage and popularity share look at."""


class View(NamedTuple):
    """One model's view of the queries and of the items.

    Attributes
    ----------
    scorer : Scorer
    encoded : Encoded
        The queries.
    vectors : (rows, W) float32
    nodes : (rows,) int32
    """

    scorer: Scorer
    encoded: Encoded
    vectors: NDArray[np.float32]
    nodes: NDArray[np.int32]


class Found(NamedTuple):
    """What one method, or one setting of it, returned.

    Attributes
    ----------
    ranks : (B,) float64
        Of the targets; 0 = first, `MISS` if not returned.
    top : (B, <= TOP) int64
        Places of the first items, in any order, -1 padded.
    scored : (B,) int64 or None
        Item-level evaluations, where they differ from query to query.
    """

    ranks: NDArray[np.float64]
    top: NDArray[np.int64]
    scored: NDArray[np.int64] | None = None


class Field:
    """Queries against a mirror that knows nothing of their batch yet.

    A *place* is an item's position among the living indexed ones; -1 is none.

    Attributes
    ----------
    world : World
    asked : Asked
    queries : Queries
    encoded : Encoded
        By the model that serves.
    rows : (N,) int64
        Living indexed items.
    places : (B,) int64
        Of the targets.
    barred : (B, L) int64
        Of the items of the user's history, each once, which no method may return.
    """

    def __init__(self, world: EpochState, asked: Asked) -> None:
        index, alive = world.index, world.alive()
        self.state, self.asked = world, asked
        self.queries = queries_from_requests(world, asked.requests)
        self.encoded = index.scorer.encode(self.queries, index.vectors, index.leaves.node_log_share())
        self.rows: NDArray[np.int64] = np.flatnonzero(alive)
        self._place_of = np.full(len(alive) + 1, -1, np.int64)  # the last one is for rows beyond
        self._place_of[self.rows] = np.arange(len(self.rows))
        self.places = self.at(asked.targets)
        self.barred = _distinct(self.at(self.queries.history_items))

    def __len__(self) -> int:
        return len(self.asked.targets)

    def at(self, rows: NDArray[np.integer]) -> NDArray[np.int64]:
        """Places of `rows`, of any shape."""
        beyond = len(self._place_of) - 1
        return self._place_of[np.where((rows < 0) | (rows >= beyond), beyond, rows)]

    def own(self) -> View:
        """Return the view of the model that serves."""
        index = self.state.index
        return View(index.scorer, self.encoded, index.vectors, index.leaves.node_of)

    def score(self, views: Sequence[View]) -> list[NDArray[np.float32]]:
        """Scores (B, N) of all items by each model, each query at its own time; barred items at -inf.

        State features are computed once per distinct time and shared by all models and queries; they are most of the
        work, and exact decay leaves no way to reuse them at another time.
        """
        scores = [np.empty((len(self), len(self.rows)), np.float32) for _ in views]
        parts = [(view.vectors[self.rows], view.nodes[self.rows]) for view in views]
        for numbers, features in self._moments():
            for view, (vectors, nodes), into in zip(views, parts, scores, strict=True):
                cross = self._cross(numbers) if view.scorer.config.cross else None
                into[numbers] = view.scorer.score_all(view.encoded.some(numbers), vectors, features, nodes, cross)
        for into in scores:
            self.bar(into)
        return scores

    def bar(self, scores: NDArray[np.floating]) -> None:
        """Set what the history forbids to -inf, in `scores` (B, N)."""
        number, column = np.nonzero(self.barred >= 0)
        scores[number, self.barred[number, column]] = -np.inf

    def top(self, scores: NDArray[np.floating]) -> NDArray[np.int64]:
        """Places of the first `TOP` items by `scores` (B, N)."""
        return top(scores, TOP)

    def _cross(self, numbers: NDArray[np.int64]) -> NDArray[np.float32]:
        """Cross features (b, N, C) of some queries and all items."""
        crossing, queries = self.state.cross_features, self.queries.some(numbers)
        return cross_features(queries, crossing.tokens, self.rows, crossing.covisitation)

    def _moments(self) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float32]]]:
        """Each distinct time: the numbers of its queries, and the state features (N, F) of all items."""
        times, which = np.unique(self.queries.now, return_inverse=True)
        for moment, now in enumerate(times.tolist()):
            yield np.flatnonzero(which == moment), self.state.states.features(self.rows, now)


def _distinct(places: NDArray[np.int64]) -> NDArray[np.int64]:
    """Keep the first of equal places in each row of (B, L); the others become -1."""
    again = np.zeros(places.shape, np.bool_)
    for column in range(1, places.shape[1]):
        again[:, column] = (places[:, :column] == places[:, column : column + 1]).any(1)
    return np.where(again, -1, places)


def best_of(order: NDArray[np.int64], scores: NDArray[np.floating], budget: int | None = None) -> NDArray[np.int64]:
    """Places of the first `TOP` by `scores` (B, N) of the first `budget` in `order` (B, M) or (M,), -1 padded."""
    order = np.broadcast_to(order, (len(scores), order.shape[-1]))
    found = np.where(order >= 0, np.take_along_axis(scores, np.maximum(order, 0), 1), -np.inf)  # (B, M)
    if budget is not None:
        found = np.where(np.cumsum(np.isfinite(found), 1) <= budget, found, -np.inf)
    best = top(found, TOP)
    return np.where(best >= 0, np.take_along_axis(order, np.maximum(best, 0), 1), -1)
