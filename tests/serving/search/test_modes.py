"""The cascade of candidates, and search among items that have pair scores."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hsnn.serving.limits import RetrievalLimits
from hsnn.serving.mirror.mirror import Mirror
from hsnn.serving.schema import Answer, Filters, Request
from hsnn.serving.search.retrieval import retrieve
from hsnn.trainer.features.pair_facts import OWN_FEATURES
from hsnn.trainer.messages import ExclusionRule

HOUR = 3_600_000
EVERYTHING, DEFAULT = RetrievalLimits(beam=18, budget=200), RetrievalLimits()


def planted(new_plant: Any, own: float = 1.0, **config: Any) -> Any:
    """Six clusters of ten items; a repeated item, and one that is next to the last item, gain by pair facts.

    User ``u`` was at c0-0, and once, long before, at c5-5; c4-4 follows c0-0 in other users' sessions.
    """
    plant = new_plant(**{"pair_features": True} | config)
    plant.exclusion = ExclusionRule("recent", items=1, time_ms=HOUR)
    plant.weights["pair_logits.own"] = np.full(OWN_FEATURES, own, np.float32)
    for cluster in range(6):
        for number in range(10):
            plant.add(f"c{cluster}-{number}", cluster, parity=number % 2)
    plant.engage("u", "c5-5")
    for number in range(4):  # the history holds four items: c5-5 is in the memory alone
        plant.engage("u", f"c0-{number + 1}", after=2 * HOUR)
    plant.engage("u", "c0-0")
    for user in ("v", "w", "x"):
        plant.engage(user, "c0-0")
        plant.engage(user, "c4-4")
    plant.index_share = 0.22
    return plant


def mirror_of(plant: Any) -> Mirror:
    """A mirror that has the version and the state, and an index that is proven."""
    mirror = Mirror()
    plant.load(mirror)
    mirror.apply_state(plant.state())
    return mirror


def ask(mirror: Mirror, limits: RetrievalLimits = DEFAULT, **request: Any) -> Answer:
    return retrieve(mirror, [Request(user="u", **request)], limits)[0]


@pytest.mark.parametrize("children", [(), (3,)])
def test_past_items_and_neighbours_are_found_outside_of_the_opened_nodes(new_plant, children):
    mirror = mirror_of(planted(new_plant, children=children))
    found = ask(mirror, k=12)
    assert "c5-5" in found.items
    assert found.stats.sources["neighbours"] >= 1, "it was engaged with around the last items"
    assert sum(found.stats.sources.values()) == found.stats.scored == 12
    assert np.isfinite(found.scores).all()


def test_filters_hold_for_every_source(new_plant):
    mirror = mirror_of(planted(new_plant))
    without = ask(mirror, filters=Filters(exclude=["c5-5", "c4-4"]), k=60)
    assert not {"c5-5", "c4-4"} & set(without.items)
    assert "memory" not in without.stats.sources
    odd = ask(mirror, RetrievalLimits(budget=1), filters=Filters(features={"parity": [1]}), k=60)  # by beam
    assert all(int(item[-1]) % 2 for item in odd.items)
    assert "c0-0" not in ask(mirror, k=60).items, "of the last hour"


def test_dots_are_the_candidates_of_all_sources(new_plant):
    plant = planted(new_plant)
    limits = RetrievalLimits(beam=1, budget=5)
    alone, all_sources = ask(mirror_of(planted(new_plant, pair_features=False)), limits), ask(mirror_of(plant), limits)
    more = all_sources.stats.dots - alone.stats.dots
    assert more >= 2
    assert all_sources.stats.scored == 5
    assert all_sources.stats.nodes == alone.stats.nodes == 1


@st.composite
def worlds(draw: Any) -> tuple[int, int]:
    return draw(st.integers(0, 10**6)), draw(st.integers(5, 70))


def random_mirror(new_plant: Any, seed: int, items: int) -> Mirror:
    """Random weights, sessions with repeats, and a state that came after the version."""
    rng, plant, mirror = np.random.default_rng(seed), new_plant(pair_features=True), Mirror()
    for name, weight in plant.weights.items():
        plant.weights[name] = rng.normal(0, 0.3, weight.shape).astype(np.float32)
    plant.weights["pair_logits.strength"] = rng.normal(0, 0.05, 2).astype(np.float32)
    plant.weights["pair_logits.scale"] = np.float32(rng.normal(0, 0.02))
    plant.exclusion = ExclusionRule("recent", items=1, time_ms=0)
    for number in range(items):
        plant.add(f"i{number}", int(rng.integers(6)), parity=number % 2)
    plant.load(mirror)
    for number in rng.integers(items, size=40).tolist():
        plant.engage(f"u{rng.integers(3)}", f"i{number}", after=int(rng.integers(HOUR // 4)))
    mirror.apply_state(plant.state())
    return mirror


REQUESTS = st.builds(
    Request,
    user=st.sampled_from(["u0", "u1", "nobody"]),
    k=st.sampled_from([1, 3, 10, 70]),
    filters=st.sampled_from([Filters(), Filters(features={"parity": [1]}), Filters(exclude=["i0", "i1", "i2"])]),
    history=st.none() | st.lists(st.integers(0, 4).map(lambda number: f"i{number}"), max_size=4),
)


@pytest.mark.slow
@given(worlds(), st.lists(REQUESTS, min_size=1, max_size=4))
@settings(max_examples=25, deadline=None)
def test_exact_is_exhaustive_to_the_last_bit_with_pair_scores(new_plant, planted_items, asked):
    mirror, limits = random_mirror(new_plant, *planted_items), RetrievalLimits(budget=1)
    for request in asked:
        one, other = (by_mode(mirror, request, mode, limits) for mode in ("exact", "exhaustive"))
        assert (one.items, one.scores) == (other.items, other.scores)
        assert one.stats.certified
        assert other.stats.certified
        assert one.stats.scored <= other.stats.scored == other.stats.candidates


@pytest.mark.slow
@given(worlds(), st.lists(REQUESTS, min_size=1, max_size=4))
@settings(max_examples=25, deadline=None)
def test_a_whole_beam_and_budget_is_exhaustive_with_pair_scores(new_plant, planted_items, asked):
    mirror = random_mirror(new_plant, *planted_items)
    for request in asked:
        beam, all_items = (by_mode(mirror, request, mode, EVERYTHING) for mode in ("beam", "exhaustive"))
        assert (beam.items, beam.scores) == (all_items.items, all_items.scores)
        assert beam.stats.certified
        searched = by_mode(mirror, request, "exhaustive", RetrievalLimits(budget=1))
        assert set(searched.items) == set(beam.items) or len(beam.items) == request.k
        assert searched.scores == pytest.approx(beam.scores, abs=1e-3)


def by_mode(mirror: Mirror, request: Request, mode: str, limits: RetrievalLimits) -> Answer:
    named = {name: getattr(request, name) for name in ("user", "k", "filters", "history")}
    return retrieve(mirror, [Request(**named, mode=mode)], limits)[0]


def test_covisitation_names_what_follows_the_last_items_then_what_is_popular(new_plant):
    mirror = mirror_of(planted(new_plant))
    answer = ask(mirror, k=8, mode="covisitation", history=["c0-0"])
    assert answer.items[0] == "c4-4", "it follows c0-0 in three sessions"
    assert answer.scores[0] > 0
    assert "c0-0" not in answer.items
    assert len(answer.items) == 8
    near = [score > 0 for score in answer.scores]
    assert near == sorted(near, reverse=True), "what nobody engaged with next to it comes last"
    without = ask(mirror, k=8, mode="covisitation", history=["c3-3"])
    popular = ask(mirror, k=8, mode="popularity", history=["c3-3"])
    assert without.items == popular.items
    assert set(without.scores) == {0.0}
    filtered = ask(mirror, k=8, mode="covisitation", history=["c0-0"], filters=Filters(features={"parity": [1]}))
    assert "c4-4" not in filtered.items
