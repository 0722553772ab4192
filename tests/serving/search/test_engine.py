"""The compiled engine gives the answers of the plain reference path, over random worlds, filters and deltas."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from hsnn.serving.limits import RetrievalLimits
from hsnn.serving.mirror.mirror import Mirror
from hsnn.serving.schema import Answer, Boost, Cap, Filters, NewItems, Recency, Request
from hsnn.serving.search import retrieval
from hsnn.serving.search.retrieval import retrieve
from hsnn.trainer.messages import ExclusionRule
from hsnn.trainer.retrieval import leaf_records

# In a fresh clone the kernels are compiled first, which takes most of a minute on a busy machine.
pytestmark = [pytest.mark.slow, pytest.mark.long("compiled kernels"), pytest.mark.timeout(600)]

HOUR = 3_600_000
TOLERANCE = 2e-6

CONFIGS: list[dict[str, Any]] = [
    {},
    {"children": (3,)},
    {"nodes": 2, "children": (2, 2)},
    {"user_vectors": 2, "item_vectors": 2},
    {"preset": "small", "over_arch": "mlp", "user_vectors": 2},
    {"cross": True},
]


@pytest.fixture(autouse=True)
def decays_at_every_update(monkeypatch):
    monkeypatch.setattr(leaf_records, "REFRESH_MS", 1)


def random_plant(new_plant: Any, seed: int, items: int, config: dict[str, Any]) -> Any:
    rng, plant = np.random.default_rng(seed), new_plant(**config)
    for name, weight in plant.weights.items():
        if weight.dtype == np.float32:
            plant.weights[name] = rng.normal(0, 0.3, weight.shape).astype(np.float32)
    plant.index_share = float(rng.choice([0.1, 0.5, 1.0]))
    plant.exclusion = ExclusionRule("recent", items=1, time_ms=0)
    for number in range(items):
        add(plant, rng, f"i{number}", parity=number % 2)
    return plant


def add(plant: Any, rng: np.random.Generator, name: str, **item: Any) -> Any:
    """A new item in some leaf, near some centre; the delta that inserts it."""
    plant.add(name, int(rng.integers(6)), **item)
    plant.nodes[-1] = int(rng.integers(plant.config.leaves))
    return plant.insert(len(plant.ids) - 1)


def events(plant: Any, rng: np.random.Generator, count: int) -> None:
    for number in rng.integers(len(plant.ids), size=count).tolist():
        plant.engage(f"u{rng.integers(3)}", plant.ids[number], after=int(rng.integers(HOUR // 4)))


def change(plant: Any, rng: np.random.Generator) -> list[Any]:
    """Some deltas: new items, moves, deletions, expiry."""
    deltas = []
    for _ in range(int(rng.integers(1, 12))):
        row, leaf = int(rng.integers(len(plant.ids))), int(rng.integers(plant.config.leaves))
        match int(rng.integers(4)):
            case 0:
                deltas.append(add(plant, rng, f"n{len(plant.ids)}", expires_at=plant.now + HOUR, parity=1))
            case 1 if plant.nodes[row] >= 0:
                deltas.append(plant.move(row, leaf))
            case 2:
                deltas.append(plant.delete(row))
            case _:
                plant.nodes[row] = leaf
                deltas.append(plant.insert(row))
    return deltas


# What both paths count alike: an exact search opens nodes in blocks by the one, and one by one by the other.
WORK = {
    "beam": ("scored", "candidates", "nodes", "corpus", "dots", "sources"),
    "exhaustive": ("scored", "candidates", "corpus"),
    "exact": ("corpus", "certified"),
}


def assert_same(one: Answer, other: Answer, mode: str) -> None:
    assert one.scores == pytest.approx(other.scores, abs=TOLERANCE, rel=TOLERANCE)
    moved = [place for place, pair in enumerate(zip(one.items, other.items, strict=True)) if pair[0] != pair[1]]
    for place in moved:  # of scores that are equal up to rounding, either may come first
        near = [scores for item, scores in zip(other.items, other.scores, strict=True) if item == one.items[place]]
        assert near == pytest.approx([one.scores[place]], abs=2 * TOLERANCE)
    for name in WORK[mode]:
        assert getattr(one.stats, name) == getattr(other.stats, name), name
    assert other.stats.certified or not one.stats.certified


def assert_proven(mirror: Mirror, request: Request, limits: RetrievalLimits) -> None:
    """The exact mode gives the exhaustive answer to the last bit, and scores no more."""
    proven, everything = (
        retrieve(mirror, [replace(request, mode=mode)], limits)[0] for mode in ("exact", "exhaustive")
    )
    assert (proven.items, proven.scores) == (everything.items, everything.scores)
    assert proven.stats.certified
    assert everything.stats.certified
    assert proven.stats.scored <= everything.stats.scored


REQUESTS = st.builds(
    Request,
    mode=st.sampled_from(["beam", "beam", "exact", "exhaustive"]),
    user=st.sampled_from(["u0", "u1", "nobody"]),
    k=st.sampled_from([1, 3, 10, 70]),
    filters=st.sampled_from(
        [
            Filters(),
            Filters(features={"parity": [1]}),
            Filters(exclude=["i0", "i1", "i2", "i2", "unknown"]),
            Filters(items=["i1", "i2", "i3", "i4"], exclude=["i1"]),
        ]
    ),
    history=st.none() | st.lists(st.integers(0, 4).map(lambda number: f"i{number}"), max_size=4),
    context=st.none() | st.just({"page": "home"}),
    caps=st.sampled_from([[], [Cap("$node", 1)], [Cap("parity", 2)]]),
    new_items=st.none() | st.just(NewItems(0.5, 1)),
)

# Any boost: the rows' own ones take its place.
BOOST = Boost(add=0.7, recency=Recency(1))


@given(
    seed=st.integers(0, 10**6),
    items=st.integers(5, 120),
    config=st.sampled_from(CONFIGS),
    pairs=st.booleans(),
    limits=st.sampled_from([(2, 3), (1, 1), (18, 5), (3, 200), (None, 2)]),
    boosted=st.booleans(),
    asked=st.lists(REQUESTS, min_size=1, max_size=3),
)
@settings(max_examples=15, deadline=None, phases=[Phase.explicit, Phase.generate])
def test_same_items_and_scores_as_the_reference(new_plant, seed, items, config, pairs, limits, boosted, asked):
    rng, plant = np.random.default_rng(seed), random_plant(new_plant, seed, items, {"pair_features": pairs} | config)
    engine, reference = Mirror(engine=True), Mirror()
    events(plant, rng, 20)
    for mirror in (engine, reference):
        plant.load(mirror)
    bounds = RetrievalLimits(beam=limits[0], budget=limits[1], whole_leaves=True)
    boosts = rng.normal(0, 0.5, items // 2).astype(np.float32) if boosted else None
    proves = reference.state.index.scorer.has_dot_product_scores
    asked = [replace(request, boosts=[BOOST] if boosted else []) for request in asked]
    asked = [replace(request, mode="beam") if request.mode == "exact" and not proves else request for request in asked]
    with pytest.MonkeyPatch.context() as patch:
        plain = retrieval.conditions_of
        patch.setattr(retrieval, "conditions_of", lambda state, request: plain(state, request)._replace(boosts=boosts))
        if boosted:  # requests do not say so
            patch.setattr(retrieval, "is_plain", lambda state, request, limits: False)
        for _ in range(3):
            answers = zip(retrieve(engine, asked, bounds), retrieve(reference, asked, bounds), strict=True)
            for request, (one, other) in zip(asked, answers, strict=True):
                assert_same(one, other, request.mode)
            if proves:
                for request in asked:
                    assert_proven(engine, request, bounds)
            events(plant, rng, 8)
            deltas, state = change(plant, rng), plant.state()
            for mirror in (engine, reference):
                mirror.apply_deltas(deltas)
                mirror.apply_state(state)
