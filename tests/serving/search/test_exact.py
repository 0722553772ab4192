"""The exact mode proves what the exhaustive mode finds."""

from __future__ import annotations

from unittest import mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hsnn.serving.errors import RequestError
from hsnn.serving.limits import RetrievalLimits
from hsnn.serving.mirror.mirror import Mirror
from hsnn.serving.schema import Filters, Request
from hsnn.serving.search import exact
from hsnn.serving.search.filters import excluded_rows
from hsnn.serving.search.queries import queries_from_requests, remembered_items
from hsnn.serving.search.retrieval import retrieve
from hsnn.serving.search.topk import SearchResult
from hsnn.serving.sync.warm_up import warm_up
from hsnn.trainer.model.array_monn import MonnArrays
from hsnn.trainer.retrieval.score_bounds import DotQuery, GroupedItems, ScoreBounds

HOUR = 3_600_000
SEARCH_ALWAYS = RetrievalLimits(budget=1, max_k=200)


def randomise_weights(plant, rng) -> None:
    """Random weights, so that every term of the score matters."""
    for name, weight in plant.weights.items():
        plant.weights[name] = rng.normal(0, 0.4, weight.shape).astype(np.float32)


def mirror_with_edge_cases(plant, seed: int, items: int) -> Mirror:
    """Some items are twins of others, expire, were deleted, or are in no node; some arrive after the version."""
    rng = np.random.default_rng(seed)
    randomise_weights(plant, rng)
    mirror = Mirror()
    for number in range(items):
        expires = plant.now + int(rng.integers(1, 3 * HOUR)) if rng.random() < 0.2 else 0
        delta = plant.add(f"i{number}", int(rng.integers(plant.config.nodes)), expires, parity=number % 2)
        if rng.random() < 0.3:  # of the same vector, in the same node, in the same state
            twin = int(rng.integers(number + 1))
            plant.vectors[number], plant.nodes[number] = plant.vectors[twin], plant.nodes[twin]
            delta = plant.insert(number)
        if mirror.loaded:
            mirror.apply_delta(delta)
        elif number == items // 2:
            plant.load(mirror)
    if not mirror.loaded:
        plant.load(mirror)
    for number in rng.integers(max(items, 1), size=items):
        plant.engage(f"u{number % 3}", f"i{number}", after=int(rng.integers(HOUR // 4)))
    mirror.apply_state(plant.state())
    for number in np.flatnonzero(rng.random(items) < 0.15).tolist():
        mirror.apply_delta(plant.delete(number, reason=str(rng.choice(["deleted", "expired"]))))
    return mirror


@st.composite
def requests(draw) -> Request:
    names = st.lists(st.integers(0, 90).map(lambda number: f"i{number}"), max_size=60)
    filters = Filters(
        items=draw(st.none() | names),
        exclude=draw(names),
        features=draw(st.sampled_from([{}, {"parity": [0]}, {"parity": [0, 1]}])),
    )
    return Request(
        user=draw(st.sampled_from(["u0", "u1", "nobody"])),
        k=draw(st.sampled_from([1, 2, 5, 20, 200])),
        filters=filters,
        as_of=draw(st.none() | st.just(1_700_000_000_000 + 5 * HOUR)),
    )


@pytest.mark.slow
@given(st.integers(0, 10**6), st.integers(1, 60), st.sampled_from([1, 3, 64]), st.lists(requests(), max_size=5))
@settings(max_examples=40, deadline=None)
def test_exact_is_exhaustive_to_the_last_bit(new_plant, seed, items, block, asked):
    mirror = mirror_with_edge_cases(new_plant(), seed, items)
    with mock.patch.object(exact, "_BLOCK", block):
        for request in asked:
            if request.filters.features and not mirror.state.items.features.names:
                continue
            proven, reference = (ask(mirror, request, mode) for mode in ("exact", "exhaustive"))
            assert (proven.items, proven.scores) == (reference.items, reference.scores)
            assert proven.stats.certified
            assert reference.stats.certified
            assert proven.stats.scored <= reference.stats.scored
            assert all(passes(item, request.filters) for item in proven.items)


def passes(item: str, filters: Filters) -> bool:
    listed = filters.items is None or item in filters.items
    return listed and item not in filters.exclude and int(item[1:]) % 2 in filters.features.get("parity", [0, 1])


def ask(mirror: Mirror, request: Request, mode: str):
    named = {name: getattr(request, name) for name in ("user", "k", "filters", "history", "as_of")}
    return retrieve(mirror, [Request(**named, mode=mode)], SEARCH_ALWAYS)[0]


@pytest.mark.slow
@given(st.integers(0, 10**6))
@settings(max_examples=12, deadline=None)
def test_both_are_the_best_by_the_model_itself(new_plant, seed):
    """Against the plain reference: every retrievable item by the model's own item level, sorted."""
    mirror = mirror_with_edge_cases(new_plant(), seed, 60)
    state, request = mirror.state, Request(user="u1", k=200)
    queries = queries_from_requests(state, [request])
    memory = remembered_items(state, queries, [request])
    index, left_out = state.index, excluded_rows(state, [request], queries, memory)
    rows = np.setdiff1d(np.flatnonzero(state.alive()), left_out)
    encoded = index.scorer.encode(queries, index.vectors, index.leaves.node_log_share())
    features = state.states.features(rows, state.watermark)
    plain = index.scorer.score(encoded, 0, index.vectors[rows], features, index.leaves.node_of[rows])
    by_name = {state.items.ids.ids[row]: score for row, score in zip(rows.tolist(), plain.tolist(), strict=True)}
    for mode in ("exact", "exhaustive"):
        answer = ask(mirror, request, mode)
        assert set(answer.items) == set(by_name)
        assert answer.scores == pytest.approx([by_name[item] for item in answer.items], abs=1e-4)
        assert answer.scores == sorted(answer.scores, reverse=True)


class FakeItemVectors:
    """The parts of `ItemVectors` that a search uses, of given items."""

    def __init__(self, members: GroupedItems, rows: np.ndarray) -> None:
        self.vectors, self.rows, self.bounds = members, rows, ScoreBounds(members, 4)


@pytest.mark.slow
@given(st.integers(0, 10**6), st.sampled_from([1, 10, 100, 3000]), st.sampled_from([0.02, 0.5, 1.0]))
@settings(max_examples=60, deadline=None)
def test_equal_scores_come_in_order_of_age(seed, k, share):
    """Small whole numbers: sums are exact and many scores are equal, within and across nodes."""
    rng = np.random.default_rng(seed)
    n, nodes = 2000, 50
    members = GroupedItems(
        rng.integers(-1, 2, (n, 6)).astype(np.float32),
        rng.integers(0, 2, n).astype(np.float32),
        np.sort(rng.integers(nodes, size=n)).astype(np.int32),
    )
    query = DotQuery(rng.integers(-2, 3, 6).astype(np.float32), 4, rng.integers(0, 3, nodes).astype(np.float32))
    rows, mask = rng.permutation(n), rng.random(n) < share
    found = exact.search(FakeItemVectors(members, rows), query, mask, k)
    scores = members.vectors @ query.vector + members.bias + query.nodes[members.nodes]
    best = [(-score, row) for score, row in zip(scores.tolist(), rows.tolist(), strict=True) if mask[row]]
    assert list(zip(-found.scores, found.rows, strict=True)) == sorted(best)[:k]


def test_where_all_is_zero_the_oldest_come_first():
    """Every item is a tie with the k-th, in every node."""
    zeros = GroupedItems(
        np.zeros((500, 6), np.float32), np.zeros(500, np.float32), np.repeat(np.arange(5, dtype=np.int32), 100)
    )
    query = DotQuery(np.ones(6, np.float32), 4, np.zeros(5, np.float32))
    found = exact.search(FakeItemVectors(zeros, np.arange(500)[::-1].copy()), query, np.ones(500, np.bool_), 3)
    assert found.rows.tolist() == [0, 1, 2]


@pytest.mark.filterwarnings("ignore:overflow")
@pytest.mark.parametrize("huge", [np.inf, 3e38])
def test_what_is_not_finite_is_scored_and_not_bounded(huge):
    vectors = np.zeros((300, 6), np.float32)
    vectors[7, 2:4] = huge  # twice 3e38 is too large for a score
    item_vectors = FakeItemVectors(
        GroupedItems(vectors, np.zeros(300, np.float32), np.repeat(np.arange(3, dtype=np.int32), 100)), np.arange(300)
    )
    query = DotQuery(np.ones(6, np.float32), 4, np.zeros(3, np.float32))
    found = exact.search(item_vectors, query, np.ones(300, np.bool_), 3)
    assert found.rows.tolist() == [7, 0, 1]
    assert found.scored == 300


def clusters(new_plant, count: int = 6, size: int = 200) -> Mirror:
    plant, mirror = new_plant(), Mirror()
    for cluster in range(count):
        for number in range(size):
            plant.add(f"c{cluster}-{number}", cluster, topic=f"c{cluster}")
    for cluster in range(count):
        plant.engage(f"u{cluster}", f"c{cluster}-0")
    plant.load(mirror)
    return mirror


def test_on_planted_clusters_less_than_30_percent_is_scored(new_plant):
    mirror = clusters(new_plant)
    answers = [retrieve(mirror, [Request(user=f"u{number}", mode="exact")])[0] for number in range(6)]
    shares = [answer.stats.scored_share for answer in answers]
    assert np.median(shares) < 0.3
    assert max(answer.stats.nodes for answer in answers) < 6
    for number, answer in enumerate(answers):
        assert all(item.startswith(f"c{number}-") for item in answer.items)
        assert answer.stats.scored_share == pytest.approx(answer.stats.scored / 1200, abs=1e-4)
        assert answer.stats.scored <= answer.stats.candidates


def test_every_answer_says_whether_it_is_certified(mirror):
    some, everything = RetrievalLimits(), RetrievalLimits(beam=6, budget=60)
    said = {
        (mode, limits): retrieve(mirror, [Request(user="u0", mode=mode)], limits)[0].stats
        for mode in ("beam", "exact", "exhaustive", "popularity", "popularity_filter")
        for limits in (some, everything)
    }
    assert [said[mode, some].certified for mode in ("beam", "popularity_filter")] == [False, False]
    assert [said[mode, everything].certified for mode in ("beam", "popularity_filter")] == [True, True]
    assert not said["popularity", everything].certified
    assert all(said[mode, limits].certified for mode in ("exact", "exhaustive") for limits in (some, everything))
    assert said["beam", some].scored_share == 0.2
    assert said["exhaustive", some].scored_share == 0.95


def test_a_beam_over_an_allow_list_is_certified_if_it_scores_the_list(mirror):
    few, many = Filters(items=["c0-5", "c4-4"]), Filters(items=[f"c{number % 6}-{number % 10}" for number in range(60)])
    assert retrieve(mirror, [Request(user="u0", filters=few)])[0].stats.certified
    assert not retrieve(mirror, [Request(user="u0", filters=many)])[0].stats.certified


@pytest.mark.slow
def test_a_model_without_bounds_refuses_the_exact_mode_in_words(mirror, monkeypatch):
    before = retrieve(mirror, [Request(user="u0", mode="exhaustive")])[0]
    monkeypatch.setattr(MonnArrays, "has_dot_product_scores", property(lambda self: False))
    with pytest.raises(RequestError, match=r"dot product.*'exhaustive'"):
        retrieve(mirror, [Request(user="u0", mode="exact")])
    after = retrieve(mirror, [Request(user="u0", mode="exhaustive")])[0]
    assert after.items == before.items
    assert after.scores == pytest.approx(before.scores, abs=1e-5)
    warm_up(mirror)


def test_without_a_retrievable_item_the_answer_is_empty(fresh_plant):
    mirror = Mirror()
    fresh_plant.load(mirror)
    answer = ask(mirror, Request(user="u"), "exact")
    assert (answer.items, answer.stats.scored_share, answer.stats.certified) == ([], 0.0, True)
    item_vectors = mirror.state.item_vectors(0)
    query = DotQuery(np.ones(12, np.float32), 8, np.zeros(6, np.float32))
    found = exact.search(item_vectors, query, mirror.state.alive(), 5)
    assert isinstance(found, SearchResult)
    assert len(found.rows) == 0
