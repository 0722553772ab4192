"""The methods that are compared, all on the same query, the same corpus and the same mirrored state."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from evaluation.popularity import HOURS, Popularity
from evaluation.ranks import MISS, rank
from evaluation.shuffled import ShuffledIndex
from serving.mirror import Mirror
from serving.request import Engaged, Request
from serving.retrieval import Limits, retrieve
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
    queries = Queries(*(part[chosen] for part in prepared.queries))
    world = mirror.world
    budget = world.index.config.budget
    requests = [_request(users[prepared.users[at]], names, prepared, int(at), budget) for at in chosen]
    answers = retrieve(mirror, requests, Limits(max_k=budget))
    corpus = np.flatnonzero(world.alive())
    scorer, index = world.index.scorer, world.index
    encoded = scorer.encode(queries, index.vectors, index.leaves.node_log_share())
    other = scorer.encode(queries, index.vectors, shuffled.leaves.node_log_share())
    ranks = np.full((len(chosen), len(MEASURES)), MISS)
    for number, at in enumerate(chosen):
        target = int(prepared.items[at])
        ranks[number, 0] = _position(answers[number].items, names[target])
        rows = np.setdiff1d(corpus, queries.history_items[number], assume_unique=False)
        place = int(np.searchsorted(rows, target))
        if place == len(rows) or rows[place] != target:
            continue
        features = world.states.features(rows, int(queries.now[number]))
        scores = scorer.score(encoded, number, index.vectors[rows], features, index.leaves.node_of[rows])
        drawn = shuffled.leaves.candidates(
            other.nodes[number], index.config.beam, budget, lambda few, rows=rows: np.isin(few, rows)
        ).rows
        ranks[number, 1:3] = rank(scores, place), rank(_only(scores, np.searchsorted(rows, drawn)), place)
        ranks[number, 3:] = _popular(popularity.values[:, rows], scores, place, budget)
    return Judged(ranks, np.array([a.stats.scored for a in answers]), np.full(len(chosen), len(corpus)))


def _request(user: str, names: list[str], prepared: Prepared, at: int, k: int) -> Request:
    rows, times = prepared.queries.history_items[at], prepared.queries.history_times[at]
    history = [
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
