"""The methods that are compared, all on the same query, the same corpus and the same mirrored state."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from evaluation.popularity import HOURS, Popularity
from evaluation.ranks import MISS, rank
from evaluation.shuffled import ShuffledIndex
from serving.limits import Limits
from serving.mirror import Mirror, World
from serving.request import Engaged, Request
from serving.retrieval import queries_of, retrieve
from streaming.events import Id
from trainer.learner import Learner
from trainer.prepared import Prepared
from trainer.queries import Queries

MEASURES = (
    "served",
    "exhaustive",
    "shuffled_index",
    *(f"popularity:{h}" for h in HOURS),
    *(f"popularity_filter:{h}" for h in HOURS),
)
"""Names of the rank columns."""


class Judged(NamedTuple):
    """Ranks per query and measure, and what the answers cost.

    Attributes
    ----------
    ranks : (n, len(MEASURES)) float64
        0 = first; `MISS` if not returned.
    scored : (n,) int64
        Item-level evaluations of the served path.
    corpus : (n,) int64
        Living indexed items.
    """

    ranks: NDArray[np.float64]
    scored: NDArray[np.int64]
    corpus: NDArray[np.int64]


def judge(
    mirror: Mirror,
    learner: Learner,
    shuffled: ShuffledIndex,
    popularity: Popularity,
    prepared: Prepared,
    chosen: NDArray[np.int64],
) -> Judged:
    """Ask the queries `chosen` of a batch that has not been learned yet."""
    names, users = learner.items.table.ids, learner.users.table.ids
    budget = mirror.world.index.config.budget
    requests = [_request(users[prepared.users[at]], names, prepared, int(at), budget) for at in chosen]
    answers = retrieve(mirror, requests, Limits(max_k=budget))
    rivals = _Rivals(mirror.world, shuffled, popularity, queries_of(mirror.world, requests))
    ranks = np.full((len(chosen), len(MEASURES)), MISS)
    for number, at in enumerate(chosen):
        target = int(prepared.items[at])
        ranks[number, 0] = _position(answers[number].items, names[target])
        ranks[number, 1:] = rivals.ranks(number, target)
    return Judged(ranks, np.array([a.stats.scored for a in answers]), np.full(len(chosen), len(rivals.corpus)))


class _Rivals:
    """All measures but the served one, on the queries of one batch.

    Attributes
    ----------
    corpus : (n,) int64
        Rows of the living indexed items.
    """

    def __init__(self, world: World, shuffled: ShuffledIndex, popularity: Popularity, queries: Queries) -> None:
        index = world.index
        self._world, self._leaves, self._popularity, self._queries = world, shuffled.leaves, popularity, queries
        self._encoded = index.scorer.encode(queries, index.vectors, index.leaves.node_log_share())
        self._shuffled_nodes = index.scorer.encode(queries, index.vectors, self._leaves.node_log_share()).nodes
        self.corpus = np.flatnonzero(world.alive())

    def ranks(self, number: int, target: int) -> list[float]:
        """Ranks of row `target` in query `number`, in the order of `MEASURES` without the first."""
        rows = np.setdiff1d(self.corpus, self._queries.history_items[number])
        place = int(np.searchsorted(rows, target))
        if place == len(rows) or rows[place] != target:
            return [MISS] * (len(MEASURES) - 1)
        index = self._world.index
        features = self._world.states.features(rows, int(self._queries.now[number]))
        cross = self._world.crossing.features(self._queries, number, rows) if index.config.cross else None
        nodes = index.leaves.node_of[rows]
        scores = index.scorer.score(self._encoded, number, index.vectors[rows], features, nodes, cross)  # (n,)
        drawn = np.searchsorted(rows, self._drawn(number, rows))
        popular = _popular(self._popularity.values[:, rows], scores, place, index.config.budget)
        return [rank(scores, place), rank(_only(scores, drawn), place), *popular]

    def _drawn(self, number: int, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Those of `rows` (n,) that a beam over the shuffled index would score."""
        config = self._world.index.config
        allowed = np.zeros(len(self._leaves.node_of), np.bool_)
        allowed[rows] = True
        return self._leaves.candidates(
            self._shuffled_nodes[number], config.beam, config.budget, lambda found: allowed[found]
        ).rows


def _request(user: str, names: list[str], prepared: Prepared, at: int, k: int) -> Request:
    rows, times = prepared.queries.history_items[at], prepared.queries.history_times[at]
    history: list[Id | Engaged] = [
        Engaged(names[row], int(time)) for row, time in zip(rows.tolist(), times.tolist(), strict=True) if row >= 0
    ]
    return Request(user=user, k=k, history=history, context=prepared.contexts[at], as_of=int(prepared.ts[at]))


def _position(items: list[str], target: str) -> float:
    return float(items.index(target)) if target in items else MISS


def _only(scores: NDArray[np.float32], places: NDArray[np.int64]) -> NDArray[np.float32]:
    kept = np.full_like(scores, -np.inf)
    kept[places] = scores[places]
    return kept


def _popular(counts: NDArray[np.float64], scores: NDArray[np.float32], place: int, budget: int) -> list[float]:
    """Ranks by popularity at every half-life, then by the scorer behind a filter of the `budget` most popular ones."""
    plain = [rank(column, place) for column in counts]
    behind = []
    for column in counts:
        top = np.argpartition(-column, budget - 1)[:budget] if len(column) > budget else np.arange(len(column))
        behind.append(rank(_only(scores, top), place))
    return plain + behind
