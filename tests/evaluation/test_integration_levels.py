"""Serving with several learned levels: the mirror's beam against scoring everything, for every index learner."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import pytest

from hsnn.evaluation.harness.offline_system import OfflineSystem
from hsnn.evaluation.harness.prequential import evaluate
from hsnn.evaluation.metrics.method_metrics import ranks
from hsnn.serving.limits import RetrievalLimits
from hsnn.serving.schema import Filters, Request
from hsnn.serving.search.queries import queries_from_requests
from hsnn.serving.search.retrieval import retrieve
from hsnn.trainer.config.index import learner_names
from hsnn.trainer.config.model import TrainerConfig

pytestmark = pytest.mark.slow

DEPTHS: dict[int, dict[str, Any]] = {2: {"nodes": 4, "children": (3,)}, 3: {"nodes": 3, "children": (2, 2)}}
FULL = RetrievalLimits(k=30, beam=12, budget=1000)
USERS = [f"u{number}" for number in range(12)]

every_depth = pytest.mark.parametrize("depth", DEPTHS)
every_learner = pytest.mark.parametrize("name", learner_names())


@pytest.fixture(scope="session")
def configured(base: TrainerConfig) -> Callable[[str, int], TrainerConfig]:
    """``configured("lti", 3)``: the planted data's configuration with that learner and so many levels."""

    def make(name: str, depth: int) -> TrainerConfig:
        model = base.model.model_copy(update=DEPTHS[depth])
        index = base.index.model_copy(update={"learner": name, "seed_after": 256})
        return base.model_copy(update={"model": model, "index": index})

    return make


@pytest.fixture(scope="session")
def system(configured: Callable[[str, int], TrainerConfig], planted_data: Any) -> Callable[[str, int], OfflineSystem]:
    """``system("lti", 3)``: learner, scheduler and mirror after 2,000 events; not to be changed."""

    @cache
    def make(name: str, depth: int) -> OfflineSystem:
        made = OfflineSystem(configured(name, depth), snapshot_every=60.0, snapshot_events=512)
        for batch in planted_data(2000, drifting=True).batches(64):
            made.learn(made.prepare(batch))
        return made

    return make


@every_depth
@every_learner
def test_a_beam_that_opens_everything_finds_what_scoring_everything_finds(system, name, depth):
    mirror = system(name, depth).mirror
    beam = retrieve(mirror, [Request(user=user) for user in USERS], FULL)
    every = retrieve(mirror, [Request(user=user, mode="exhaustive") for user in USERS], FULL)
    for one, other in zip(beam, every, strict=True):
        assert one.items == other.items
        assert one.scores == pytest.approx(other.scores, abs=1e-4)
        assert one.stats.scored == other.stats.scored


@every_depth
@every_learner
def test_a_narrow_beam_scores_some_items_and_each_as_before(system, name, depth):
    mirror = system(name, depth).mirror
    limits = RetrievalLimits(k=1000, beam=2, budget=1000)
    beam = retrieve(mirror, [Request(user=user) for user in USERS], limits)
    every = retrieve(mirror, [Request(user=user, mode="exhaustive") for user in USERS], FULL._replace(k=1000))
    fewer = 0
    for one, other in zip(beam, every, strict=True):
        scores = dict(zip(other.items, other.scores, strict=True))
        assert set(one.items) <= set(scores)
        assert one.scores == pytest.approx([scores[item] for item in one.items], abs=1e-4)
        assert 1 <= one.stats.nodes <= 2
        fewer += one.stats.scored < other.stats.scored
    assert fewer == len(USERS)


@every_depth
@every_learner
def test_a_narrow_beam_opens_the_best_leaves_that_it_comes_to(system, name, depth):
    """By a plain search: two nodes of every level are kept, and the two best leaves below them are opened."""
    made = system(name, depth)
    index = made.mirror.state.index
    queries = queries_from_requests(made.mirror.state, [Request(user=user) for user in USERS])
    encoded = index.scorer.encode(queries, index.vectors, index.leaves.node_log_share(), 2)
    model, every = index.config, of_all_levels(index, encoded.users.levels)
    for user in range(len(USERS)):
        leaves = np.arange(model.leaves)
        for count, log_p in zip(model.levels[:-1], every, strict=False):
            above = leaves // (model.leaves // count)
            kept = sorted({*above.tolist()}, key=lambda node, said=log_p[user]: -said[node])[:2]
            leaves = leaves[np.isin(above, kept)]
        seen = np.flatnonzero(np.isfinite(encoded.beam_log_probs[user]))
        assert set(seen.tolist()) == set(leaves.tolist())
        np.testing.assert_allclose(encoded.beam_log_probs[user, seen], encoded.leaf_log_probs[user, seen], atol=1e-4)
    np.testing.assert_allclose(every[-1], encoded.leaf_log_probs, atol=1e-4)
    assert encoded.nodes_scored == model.nodes + sum(2 * children for children in model.children)


def of_all_levels(index: Any, users: tuple[np.ndarray, ...]) -> list[np.ndarray]:
    """What each level says of its nodes, (B, K_l): among siblings, and the weighted word of the level above."""
    levels, found = index.scorer.model.levels, []
    shares = levels.log_shares(index.leaves.node_log_share())
    for depth, level in enumerate(levels.levels):
        families = found[-1].shape[1] if found else 1
        own = level.scores(users[depth], shares[depth]).reshape(len(users[depth]), families, -1)
        own = own - np.log(np.exp(own).sum(2, keepdims=True))
        above = levels.ensemble[depth - 1] * found[-1][:, :, None] if found else 0.0
        found.append((own + above).reshape(len(own), -1))
    return found


@every_depth
@every_learner
def test_new_items_and_filters(system, name, depth):
    mirror = system(name, depth).mirror
    assert system(name, depth).arrived > 0
    [wanted] = retrieve(mirror, [Request(user="u1", mode="exhaustive")], FULL)
    items = wanted.items[3:9]
    [some] = retrieve(mirror, [Request(user="u1", filters=Filters(items=items))], FULL)
    assert some.items == items
    [without] = retrieve(mirror, [Request(user="u1", filters=Filters(exclude=items))], FULL)
    assert without.items[:3] == wanted.items[:3]
    assert not set(without.items) & set(items)


@every_depth
def test_an_evaluation_over_several_levels(configured, planted_data, depth):
    run = evaluate(planted_data(3000), configured("oneshot", depth), 64, query_share=0.3, snapshot_events=512)
    served, popularity = (float((ranks(run, method) < 20).mean()) for method in ("served", "popularity"))
    assert served > popularity + 0.15
