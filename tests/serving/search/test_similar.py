"""Items like given ones: the nearest nodes against a comparison of every item, by engine and by plain path."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from hsnn.serving.limits import RetrievalLimits
from hsnn.serving.mirror.mirror import Mirror
from hsnn.serving.schema import Answer, Boost, Cap, Filters, Recency, SimilarRequest
from hsnn.serving.search import similar as module
from hsnn.serving.search.similar import similar

# In a fresh clone the kernels are compiled first.
pytestmark = [pytest.mark.slow, pytest.mark.long("compiled kernels"), pytest.mark.timeout(600)]

LIMITS = RetrievalLimits(budget=1)


def mirrors_of(new_plant: Any, seed: int, items: int, **config: Any) -> list[Mirror]:
    """An engine and a plain mirror of random items, some of them deleted, with pairs that users engaged with."""
    rng, plant = np.random.default_rng(seed), new_plant(pair_features=True, **config)
    for number in range(items):
        plant.add(f"i{number}", int(rng.integers(6)), parity=number % 2)
    for number in rng.integers(items, size=30).tolist():
        plant.engage(f"u{rng.integers(3)}", f"i{number}")
    mirrors = [Mirror(engine=True), Mirror()]
    gone = [plant.delete(row) for row in np.flatnonzero(rng.random(items) < 0.1).tolist()]
    for mirror in mirrors:
        plant.load(mirror)
        if gone:
            mirror.apply_deltas(gone)
    return mirrors


def scored(answer: Answer) -> dict[str, float]:
    return dict(zip(answer.items, answer.scores, strict=True))


REQUESTS = st.builds(
    SimilarRequest,
    items=st.lists(st.integers(0, 20).map(lambda number: f"i{number}"), min_size=1, max_size=3),
    by=st.sampled_from(["both", "model", "evidence"]),
    k=st.sampled_from([1, 5, 100]),
    user=st.none() | st.just("u0"),
    filters=st.sampled_from([Filters(), Filters(features={"parity": [1]}), Filters(exclude=["i1", "i2", "?"])]),
    caps=st.sampled_from([[], [Cap("parity", 2)]]),
    boosts=st.sampled_from([[], [Boost(add=0.7, recency=Recency(1))]]),
)


@given(
    seed=st.integers(0, 10**6),
    items=st.integers(25, 90),
    config=st.sampled_from([{}, {"children": (3,)}, {"user_vectors": 1, "item_vectors": 2}]),
    nodes=st.sampled_from([1, 3, 64]),
    request=REQUESTS,
)
@settings(max_examples=40, deadline=None, phases=[Phase.explicit, Phase.generate])
def test_the_engine_finds_what_the_plain_path_finds(new_plant, seed, items, config, nodes, request):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_NODES", nodes)
        patch.setattr(module, "_COMPARED_PER_ITEM", 1)
        mirrors = mirrors_of(new_plant, seed, items, **config)
        one, other = (similar(mirror, request, LIMITS) for mirror in mirrors)
        every = similar(mirrors[1], replace(request, exhaustive=True), LIMITS)
    assert one.scores == pytest.approx(other.scores, abs=2e-6)
    for item in set(one.items) ^ set(other.items):  # of equal scores either may be the last
        assert {**scored(one), **scored(other)}[item] == pytest.approx(one.scores[-1], abs=4e-6)
    assert (one.stats.scored, one.stats.nodes) == (other.stats.scored, other.stats.nodes)
    assert every.stats.certified
    if other.stats.certified:
        assert other.scores == pytest.approx(every.scores, abs=2e-6)
    assert not set(one.items) & {*request.items, *request.filters.exclude}
    for best, score in zip(every.scores, other.scores, strict=False):
        assert best >= score - 2e-6


def test_the_nearest_nodes_hold_nearly_all_of_the_best(new_plant, monkeypatch):
    monkeypatch.setattr(module, "_NODES", 2)
    monkeypatch.setattr(module, "_COMPARED_PER_ITEM", 1)
    plant = new_plant()
    for number in range(600):
        plant.add(f"i{number}", number % 6)
    for engine in (True, False):
        mirror = Mirror(engine=engine)
        plant.load(mirror)
        recalls = []
        for number in range(12):
            request = SimilarRequest(items=[f"i{number}"], k=20)
            found, every = (
                similar(mirror, replace(request, exhaustive=exhaustive), LIMITS) for exhaustive in (False, True)
            )
            assert found.stats.nodes == 2
            assert found.stats.scored < every.stats.scored == 599
            recalls.append(len(set(found.items) & set(every.items)) / 20)
        assert np.mean(recalls) >= 0.99


def test_what_is_in_a_node_that_was_not_opened_says_so(new_plant, monkeypatch):
    monkeypatch.setattr(module, "_NODES", 1)
    monkeypatch.setattr(module, "_COMPARED_PER_ITEM", 1)
    plant, mirror = new_plant(), Mirror(engine=True)
    for number in range(60):
        plant.add(f"i{number}", number % 6)
    plant.load(mirror)
    request = SimilarRequest(items=["i0"], k=5, why_not=["i1", "i0"])
    explained = similar(mirror, request, LIMITS).why_not
    assert explained is not None
    assert [why.stage for why in explained] == ["node_not_opened", "given"]
    everything = similar(mirror, replace(request, exhaustive=True), LIMITS).why_not
    assert everything is not None
    assert everything[0].stage == "ranked_below"
