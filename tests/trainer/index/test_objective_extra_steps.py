"""Steps of the learned levels alone: test-time pairs, and as many ordinary ones to compare with."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from hsnn.trainer.config.index import learner_names
from hsnn.trainer.config.model import TrainerConfig
from hsnn.trainer.index.maintenance import MaintenanceKind
from hsnn.trainer.retrieval.inverted_lists import InvertedLists
from hsnn.trainer.training.learner import Learner
from hsnn.trainer.training.maintenance import due


@pytest.fixture
def learner(config: TrainerConfig, with_index: Callable[..., TrainerConfig], new_world: type, teach: Any) -> Learner:
    learner = Learner(with_index(config, seed_after=128, test_time_interest=0.1))
    teach(learner, new_world(), 20)
    return learner


@pytest.fixture
def asked(learner: Learner, new_world: type, candidates_of: Any) -> list[Any]:
    """What `Network.more` is asked about a batch that was not learned."""
    world = new_world(seed=4)
    world.now = learner.watermark
    prepared = learner.prepare(world.batch(64))
    return [prepared.queries, candidates_of(learner, prepared), prepared.weights, learner.leaves, learner.events]


def changed(learner: Learner, act: Callable[[], None]) -> set[str]:
    """Names of the parts of the network that `act` changes."""
    before = {name: array.copy() for name, array in learner.network.full_state().items()}
    act()
    return {name for name, array in learner.network.full_state().items() if array.tobytes() != before[name].tobytes()}


@pytest.mark.slow
@pytest.mark.parametrize("test_time", [True, False])
def test_only_the_levels_and_their_tower_learn(learner, asked, test_time):
    found = changed(learner, lambda: learner.network.extra_step(*asked, test_time=test_time))
    weights = {name.removeprefix("monn.") for name in found if name.startswith("monn.")}
    assert {"levels.hierarchy.codes.0", "levels.over_archs.0.bias", "node_user_tower.layers.0.weight"} <= weights
    assert all(name.startswith(("levels.", "node_user_tower.", "node_skip.")) for name in weights)
    assert all(name.startswith(("monn.", "adam.", "guard.")) for name in found)


@pytest.mark.slow
def test_where_no_pair_is_kept_nothing_changes(learner, asked):
    """Not even what Adam remembers: a step on no pairs is none."""
    asked[3] = InvertedLists(learner.config.model.leaves)
    assert not changed(learner, lambda: learner.network.extra_step(*asked, test_time=True))


@pytest.mark.slow
def test_a_step_that_is_not_finite_is_left_out(learner, asked):
    learner.network.items.content.weight[:, 0] = np.nan
    assert not changed(learner, lambda: learner.network.extra_step(*asked, test_time=False))


@pytest.mark.slow
@pytest.mark.parametrize("name", learner_names())
@pytest.mark.parametrize("option", ["test_time", "extra_steps"])
def test_extra_steps_are_taken_when_they_are_due(config, with_index, new_world, teach, name, option):
    learner = Learner(with_index(config, learner=name, seed_after=128, **{option: 3}))
    taken: list[tuple[int, bool]] = []
    learner.network.extra_step = lambda *_, test_time, **__: taken.append((learner.steps, test_time))  # type: ignore[method-assign]
    teach(learner, new_world(), 12)
    assert taken == [(steps, option == "test_time") for steps in (3, 6, 9, 12)]


def test_without_seeded_nodes_there_is_nothing_to_learn(config, world, candidates_of):
    learner = Learner(config)
    prepared = learner.prepare(world.batch(16))
    asked = [prepared.queries, candidates_of(learner, prepared), prepared.weights, learner.leaves, 0]
    assert not changed(learner, lambda: learner.network.extra_step(*asked, test_time=False))


def test_a_refit_is_not_repeated_after_a_step_that_was_left_out(config, with_index, new_world, teach):
    learner, world = Learner(with_index(config, learner="sil", seed_after=64, kmeans_every=64)), new_world()
    teach(learner, world, 3)
    assert due(learner) == [MaintenanceKind.REFIT]
    weight = learner.network.items.content.weight.copy()
    learner.network.items.content.weight[:] = np.nan
    assert teach(learner, world, 1).unsafe == 64
    learner.network.items.content.weight = weight
    assert due(learner) == []
