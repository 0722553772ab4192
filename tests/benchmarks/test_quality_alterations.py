"""The alterations of the ablation: each takes its part away, that part alone, and only while it is in force."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.quality.alterations import ALTERATIONS
from hsnn.evaluation.harness.offline_system import OfflineSystem
from hsnn.serving.schema import Request
from hsnn.serving.search.retrieval import retrieve
from hsnn.trainer.config.exclude import ExcludeConfig
from hsnn.trainer.config.model import ModelConfig, TrainerConfig
from hsnn.trainer.training.learner import Learner
from tests.evaluation.planted_data import planted

CONFIG = TrainerConfig(
    model=ModelConfig(dim=8, state_dim=4, hidden=16, history=4, token_dim=4, buckets=256, nodes=12, beam=3, budget=25),
    uniform_negatives=48,
    exclude=ExcludeConfig(items=3, time=0.0),
)


def learned(config: TrainerConfig) -> Learner:
    learner = Learner(config)
    for batch in planted(600).batches(64):
        learner.train(learner.prepare(batch))
    return learner


def skips(learner: Learner) -> list[np.ndarray]:
    return [skip.weight.detach().numpy() for skip in (learner.network.monn.item_skip, learner.network.monn.node_skip)]


def test_without_skips_nothing_but_the_towers_leads_from_the_history_to_a_user():
    with ALTERATIONS["no_skip"]():
        learner = learned(CONFIG)
    assert not any(weight.any() for weight in skips(learner))
    start = Learner(CONFIG)  # as the part is again
    assert all(weight.any() for weight in skips(start))
    tower = next(start.network.monn.item_user_tower.parameters())
    assert not np.array_equal(
        tower.detach().numpy(), next(learner.network.monn.item_user_tower.parameters()).detach().numpy()
    )


def test_without_the_mask_a_learner_learns_as_without_the_rule_but_answers_obey_it():
    with ALTERATIONS["no_mask"]():
        unmasked = learned(CONFIG)
    nothing = learned(CONFIG.model_copy(update={"exclude": ExcludeConfig(rule="nothing")}))
    for weight, other in zip(unmasked.network.monn.parameters(), nothing.network.monn.parameters(), strict=True):
        assert np.array_equal(weight.detach().numpy(), other.detach().numpy())
    assert not np.array_equal(skips(unmasked)[0], skips(learned(CONFIG))[0])
    batch = next(iter(planted(64, seed=1).batches(64)))
    assert (unmasked.prepare(batch).excluded >= 0).any()
    assert not (nothing.prepare(batch).excluded >= 0).any()


@pytest.mark.slow
def test_with_the_beam_alone_pair_facts_name_no_candidates():
    system = OfflineSystem(CONFIG, 60.0, 512)
    for batch in planted(2000).batches(64):
        system.learn(system.prepare(batch))
    requests = [Request(user=f"u{number}", k=5) for number in range(20)]

    def sources() -> set[str]:
        return {source for answer in retrieve(system.mirror, requests) for source in answer.stats.sources}

    with ALTERATIONS["beam_alone"]():
        assert sources() == {"index"}
    assert "neighbours" in sources()


def test_without_content_an_item_has_its_features_but_learns_nothing_of_them():
    with ALTERATIONS["no_content"]():
        learner = learned(CONFIG)
    rows = len(learner.items)
    assert all(learner.items.features[row] for row in range(rows))
    assert (learner.items.tokens[:rows] == -1).all()
    assert (learned(CONFIG).items.tokens[:rows] >= 0).any(1).all()
