"""Pair facts of one request by the compiled kernel are those of the plain code, which training uses."""

from __future__ import annotations

import numpy as np
import pytest

from hsnn.trainer.features.covisitation import Covisitation
from hsnn.trainer.features.item_counters import HALF_LIVES, ItemCounters
from hsnn.trainer.features.pair_facts import OWN_FEATURES, PairFacts, pair_facts
from hsnn.trainer.features.queries import QueryArrays
from hsnn.trainer.features.user_memory import UserMemory
from hsnn.trainer.retrieval.pair_scores import PairScores
from hsnn.trainer.retrieval.request_pairs import PairColumns, PairWeights, count_pairs, request_pairs

ITEMS, HOUR = 400, 3_600_000
NOW = 10**6 * HOUR // 2
FOR_EVER = -(1 << 62)


class World:
    """Random co-visitation, counts, weights, and one user with a history and a memory."""

    def __init__(self, seed: int, *, length: int, remembered: int, keep_ms: int | None = None) -> None:
        rng = np.random.default_rng(seed)
        self.states = ItemCounters(ITEMS)
        self.states.values[:] = rng.exponential(2, (ITEMS, len(HALF_LIVES)))
        self.states.last[:] = NOW - rng.integers(-HOUR, 1000 * HOUR, ITEMS)
        self.states.set_popularity(int(rng.integers(len(HALF_LIVES))), 500.0, NOW - HOUR)
        self.pairs = Covisitation(ITEMS)
        for _ in range(40):
            history = rng.integers(-1, ITEMS, (20, 6))
            ts = np.sort(NOW - rng.integers(0, 400 * HOUR, 20))
            self.pairs.update(history, ts[:, None] - rng.integers(0, HOUR, (20, 6)), rng.integers(0, ITEMS, 20), ts)
        self.memory = UserMemory(limit=50, keep_ms=keep_ms)
        self.memory.extend(
            np.zeros(remembered, np.int64),
            rng.integers(0, 60, remembered),
            NOW - HOUR * np.sort(rng.integers(0, 3000, remembered))[::-1],
            actions=rng.integers(1, 128, remembered).astype(np.uint8),
            disliked=rng.random(remembered) < 0.1,
        )
        self.history = rng.integers(0, 60, length).astype(np.int32)
        self.history[: int(rng.integers(length + 1))] = -1
        self.weights = PairWeights(
            rng.exponential(1, 2).astype(np.float32), 0.8, rng.normal(size=OWN_FEATURES).astype(np.float32)
        )

    def plain(self) -> PairScores:
        none = np.zeros((1, 0), np.int32)
        queries = QueryArrays(
            self.history[None], np.zeros((1, len(self.history)), np.int64), none, none, np.array([NOW])
        )
        remembered = self.memory.gather(np.array([0]), queries.now)
        facts: PairFacts = pair_facts(queries, remembered, self.pairs, self.states)
        near = np.float32(self.weights.scale) * np.log1p(facts.lift @ self.weights.lift)
        return PairScores.from_parts(
            np.r_[facts.query, facts.own_query],
            np.r_[facts.candidate, facts.own_candidate],
            np.r_[near, facts.own @ self.weights.own],
            len(near),
        )

    def compiled(self, since: int = FOR_EVER) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        return request_pairs(
            self.weights,
            PairColumns.of(self.pairs, self.states),
            history=self.history,
            memory=self.memory.entries_of(0),
            now=NOW,
            since=since,
        )


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize(("length", "remembered"), [(10, 30), (4, 0), (25, 200), (10, 1)])
def test_rows_scores_and_sources_are_those_of_the_plain_code(seed: int, length: int, remembered: int) -> None:
    world = World(seed, length=length, remembered=remembered)
    plain = world.plain()
    rows, scores, near = world.compiled()
    assert rows.tolist() == plain.rows.tolist()
    assert near.tolist() == plain.near.tolist()
    assert scores == pytest.approx(plain.scores, rel=2e-6, abs=2e-6)


@pytest.mark.parametrize("seed", range(4))
def test_what_is_forgotten_has_no_facts_and_counts_nowhere(seed: int) -> None:
    world = World(seed, length=10, remembered=80, keep_ms=900 * HOUR)
    plain = world.plain()
    rows, scores, _ = world.compiled(since=NOW - 900 * HOUR)
    assert rows.tolist() == plain.rows.tolist()
    assert scores == pytest.approx(plain.scores, rel=2e-6, abs=2e-6)
    assert len(world.compiled()[0]) >= len(rows)


def test_nobody_without_a_history_has_no_pairs() -> None:
    world = World(0, length=10, remembered=0)
    world.history[:] = -1
    assert [part.tolist() for part in world.compiled()] == [[], [], []]


def test_chosen_rows_are_counted_by_source() -> None:
    pairs, near = np.array([2, 5, 7, 9]), np.array([True, False, True, False])
    assert count_pairs(np.array([9, 1, 2, 7, 30]), pairs, near) == (2, 1)
    assert count_pairs(np.zeros(0, np.int64), pairs, near) == (0, 0)
