"""Pair facts against one pair, one list and one place at a time."""

from __future__ import annotations

from collections import defaultdict
from typing import NamedTuple
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hsnn.trainer.features import pair_facts as module
from hsnn.trainer.features.covisitation import Covisitation
from hsnn.trainer.features.item_counters import HALF_LIVES, ItemCounters
from hsnn.trainer.features.pair_facts import OWN_FEATURES, PairFacts, _sum_by_key, pair_facts
from hsnn.trainer.features.queries import QueryArrays
from hsnn.trainer.features.user_memory import DISLIKED, MemoryEntries, UserMemory
from hsnn.trainer.messages import COVISIT_HALF_LIVES

START = 1_700_000_000_000
HOUR = 3_600_000
ITEMS, LENGTH = 30, 12
"""Histories are longer than the ten items whose neighbours are looked up."""


class Stream(NamedTuple):
    """What was counted of a random stream, and queries at its end."""

    queries: QueryArrays
    memory: MemoryEntries
    pairs: Covisitation
    states: ItemCounters

    def facts(self, candidates: np.ndarray | None = None) -> PairFacts:
        return pair_facts(self.queries, self.memory, self.pairs, self.states, candidates)


def queries_of(items: np.ndarray, now: np.ndarray) -> QueryArrays:
    """Queries of histories (B, L) at times `now` (B,); pair facts read nothing else."""
    nothing = np.zeros((len(items), 0), np.int32)
    return QueryArrays(items.astype(np.int32), np.zeros(items.shape, np.int64), nothing, nothing, now)


def random_stream(seed: int, events: int, asked: int) -> Stream:
    rng = np.random.default_rng(seed)
    pairs, states, memory = Covisitation(ITEMS), ItemCounters(ITEMS), UserMemory(limit=6)
    histories = rng.integers(-1, ITEMS, (events, LENGTH))
    items, ts = rng.integers(ITEMS, size=events), START + np.sort(rng.integers(100 * HOUR, size=events))
    pairs.update(histories, ts[:, None] - rng.integers(3 * HOUR, size=histories.shape), items, ts)
    states.add_engagements(items, ts, np.ones(events, np.float32))
    states.set_popularity(int(rng.integers(len(HALF_LIVES))), float(events), START + 50 * HOUR)
    users, bits = rng.integers(asked, size=events), 1 << rng.integers(7, size=events).astype(np.uint8)
    memory.extend(users, items, ts, actions=bits, disliked=rng.random(events) < 0.2)
    now = START + rng.integers(50 * HOUR, 200 * HOUR, size=asked)  # the counters may be younger than a query
    queries = queries_of(rng.integers(-1, ITEMS, (asked, LENGTH)), now)
    return Stream(queries, memory.gather(np.arange(asked)), pairs, states)


def naive_lifts(stream: Stream) -> dict[tuple[int, int], np.ndarray]:
    """Lift of every pair of a query and an item that has co-visitation."""
    queries, _, pairs, states = stream
    sums: dict[tuple[int, int], np.ndarray] = defaultdict(lambda: np.zeros(2))
    for query, (history, now) in enumerate(zip(queries.history_items, queries.now, strict=True)):
        for back, item in enumerate(reversed(history[-10:].tolist()), 1):
            for column, half_life in enumerate(COVISIT_HALF_LIVES):
                if item < 0:
                    continue
                decay = 2 ** (-max(now - pairs.last[item], 0) / half_life)
                for place, neighbour in enumerate(pairs.neighbours[item, column].tolist()):
                    if neighbour >= 0 and pairs.weights[item, column, place] > 0:
                        sums[query, neighbour][column] += pairs.weights[item, column, place] * decay * back**-0.7
    half_life = HALF_LIVES[states.half_life]
    for (query, item), value in sums.items():
        now = queries.now[query]
        count = states.values[item, states.half_life] * 2 ** (-max(now - states.last[item], 0) / half_life)
        total = states.total * 2 ** (-max(now - states.total_at, 0) / half_life)
        value /= (count + 0.1) / (total + 1)
    return sums


STREAMS = st.builds(random_stream, st.integers(0, 10**6), st.integers(1, 40), st.integers(1, 5))


@pytest.mark.slow
@given(STREAMS)
@settings(max_examples=40, deadline=None)
def test_lift_is_decayed_covisitation_by_place_over_popularity(stream):
    expected, found = naive_lifts(stream), stream.facts()
    assert list(zip(found.query.tolist(), found.candidate.tolist(), strict=True)) == sorted(expected)
    for query, item, lift in zip(found.query.tolist(), found.candidate.tolist(), found.lift, strict=True):
        np.testing.assert_allclose(lift, expected[query, item], rtol=1e-4, atol=1e-30)  # float32 ends at 1e-45


@pytest.mark.slow
@given(STREAMS, st.data())
@settings(max_examples=40, deadline=None)
def test_candidates_are_a_selection_of_all_items(stream, data):
    every = stream.facts()
    for facts, same in zip(every, stream.facts(np.arange(ITEMS)), strict=True):
        assert np.array_equal(facts, same)
    rows = np.array(sorted(data.draw(st.sets(st.integers(0, ITEMS - 1)))), np.int64)
    some, near, past = stream.facts(rows), np.isin(every.candidate, rows), np.isin(every.own_candidate, rows)
    assert np.array_equal(rows[some.candidate], every.candidate[near])
    assert np.array_equal(rows[some.own_candidate], every.own_candidate[past])
    assert np.array_equal(some.query, every.query[near])
    assert np.array_equal(some.own_query, every.own_query[past])
    np.testing.assert_allclose(some.lift, every.lift[near], rtol=1e-6)
    assert np.array_equal(some.own, every.own[past])


@pytest.mark.slow
@given(STREAMS, st.sets(st.integers(0, ITEMS - 1)))
@settings(max_examples=60, deadline=None)
def test_compiled_sums_are_those_of_numpy_to_the_bit(stream, candidates):
    rows = np.array(sorted(candidates), np.int64)
    stream.queries.now[0] += 130 * HOUR  # counts that have decayed to the smallest floats, and to nothing
    found = stream.facts(rows)
    with patch.object(module, "COMPILED", False):
        expected = stream.facts(rows)
    assert [part.tobytes() for part in found] == [part.tobytes() for part in expected]


@pytest.mark.slow
@given(STREAMS, st.integers(0, 5), st.integers(0, 5))
@settings(max_examples=40, deadline=None)
def test_select_is_the_facts_of_these_queries_alone(stream, start, more):
    cut = slice(start, min(start + more, len(stream.queries.now)))
    alone = stream._replace(queries=stream.queries.select(cut), memory=stream.memory.select(cut)).facts()
    for facts, expected in zip(stream.facts().select(cut), alone, strict=True):
        np.testing.assert_allclose(facts, expected, rtol=1e-6)


@pytest.mark.slow
@given(st.lists(st.tuples(st.integers(0, 50), st.floats(2**-10, 100, width=32)), max_size=60))
@settings(max_examples=60, deadline=None)
def test_a_table_and_a_sort_give_equal_sums(pairs):
    keys, values = np.array([key for key, _ in pairs], np.int64), np.array([value for _, value in pairs], np.float32)
    table, ordered = _sum_by_key(keys, values, min(51, 16 * len(keys))), _sum_by_key(keys, values, 10**9)
    if 16 * len(keys) >= 51:
        assert [part.tobytes() for part in table] == [part.tobytes() for part in ordered]
    sums: dict[int, float] = defaultdict(float)
    for key, value in zip(keys.tolist(), values.tolist(), strict=True):
        sums[key] += value
    assert ordered[0].tolist() == sorted(sums)
    assert ordered[1].tolist() == pytest.approx([sums[key] for key in sorted(sums)])


def test_own_facts_by_hand():
    """Item 7 a day ago, three times, clicked and disliked; item 3 between two knots of age, once."""
    now = START + 100 * HOUR
    between = np.exp((np.log(2) + np.log(24)) / 2) - 0.05  # half-way from a visit to a day
    memory = MemoryEntries(
        np.array([[-1, 7, 3], [-1, -1, -1]], np.int32),
        np.array([[0, now - 24 * HOUR + 0.05 * HOUR, now - between * HOUR], [0, 0, 0]]).astype(np.int64),
        np.array([[0, 3, 1], [0, 0, 0]], np.int32),
        np.array([[0, 0b101 | DISLIKED, 0b10], [0, 0, 0]], np.uint8),
    )
    queries = queries_of(np.full((2, LENGTH), -1), np.array([now, now]))
    found = pair_facts(queries, memory, Covisitation(ITEMS), ItemCounters(ITEMS))
    assert (found.own_query.tolist(), found.own_candidate.tolist()) == ([0, 0], [7, 3])
    assert len(found.query) == 0
    user = [1 - 2 / 4, np.log(2) / 5]  # of four engagements two were repeats; two items
    expected = [
        [0, 0, 1, 0, 0, 0, np.log(3), 1 / 2, *user, 1, 0, 1, 0, 0, 0, 0],
        [0, 0.5, 0.5, 0, 0, 0, 0, 1, *user, 0, 1, 0, 0, 0, 0, 0],
    ]
    assert found.own.shape == (2, OWN_FEATURES)
    np.testing.assert_allclose(found.own, expected, atol=1e-5)


@pytest.mark.parametrize(("hours", "knot"), [(-5, 0), (0, 0), (10**5, 5)])
def test_ages_beyond_the_knots_are_those_of_the_nearest_one(hours, knot):
    """A past item may be later than a question that is asked of an earlier time."""
    now = START + 10**6 * HOUR
    ones = np.ones((1, 1), np.int32)
    memory = MemoryEntries(4 * ones, now - hours * HOUR * ones.astype(np.int64), ones, ones.astype(np.uint8))
    own = pair_facts(
        queries_of(np.full((1, LENGTH), -1), np.array([now])), memory, Covisitation(ITEMS), ItemCounters(ITEMS)
    ).own
    assert own[0, :6].tolist() == np.eye(6)[knot].tolist()
