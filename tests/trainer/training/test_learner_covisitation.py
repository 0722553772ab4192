"""The learner counts co-visitation where the model has cross features, and hands it on."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from hsnn.trainer.config.model import TrainerConfig
from hsnn.trainer.publish.snapshot import SnapshotOrigin, make_snapshot
from hsnn.trainer.training.learner import Learner


@pytest.fixture
def crossed(config: TrainerConfig) -> TrainerConfig:
    return config.model_copy(update={"model": config.model.model_copy(update={"cross": True})})


def lists(learner: Learner) -> list[np.ndarray]:
    pairs = learner.covisitation
    return [part[: len(learner.items)] for part in (pairs.neighbours, pairs.weights, pairs.totals, pairs.last)]


def click(learner: Learner, world: Any, by: list[str], on: list[str]) -> None:
    learner.train(learner.prepare(world.clicks(by, on)))


def test_both_ends_of_a_pair_are_touched(crossed, world):
    learner = Learner(crossed)
    click(learner, world, ["u", "v"], ["a", "b"])
    learner.delta()
    click(learner, world, ["u"], ["c"])
    delta = learner.delta()
    assert delta.item_rows.tolist() == [0, 2]  # a is c's neighbour now, and c is a's
    assert delta.item_neighbours[:, 0, 0].tolist() == [2, 0]
    assert np.array_equal(delta.item_weights, learner.covisitation.weights[[0, 2]])


@pytest.mark.slow
def test_deltas_add_up_to_the_snapshot(crossed, world, teach):
    learner, told = Learner(crossed), Learner(crossed).covisitation
    for _ in range(5):
        teach(learner, world, 3)
        delta = learner.delta()
        told.set_rows(delta.item_rows, delta.item_neighbours, delta.item_weights, delta.item_totals, delta.item_paired)
    items = make_snapshot(learner, SnapshotOrigin(1, 1)).items
    names = {"neighbours": "neighbours", "weights": "weights", "totals": "totals", "paired": "last"}
    for name, attribute in names.items():
        assert np.array_equal(getattr(told, attribute)[: len(learner.items)], items[name])
    assert (items["neighbours"] >= 0).any()


@pytest.mark.slow
def test_a_restored_learner_goes_on_with_the_same_lists(crossed, new_world, teach):
    world, same = new_world(), new_world()
    straight, broken = Learner(crossed), Learner(crossed)
    teach(straight, world, 5)
    teach(broken, same, 5)
    again = Learner.from_state_dict(crossed, *broken.state_dict())
    teach(straight, world, 5)
    teach(again, same, 5)
    assert (straight.covisitation.neighbours >= 0).any()
    assert all(one.tobytes() == other.tobytes() for one, other in zip(lists(again), lists(straight), strict=True))


def test_without_pair_and_cross_features_nothing_is_counted_or_sent(config, world, teach):
    model = config.model.model_copy(update={"pair_features": False})
    learner = Learner(config.model_copy(update={"model": model}))
    teach(learner, world, 3)
    assert len(learner.covisitation.last) == 0
    assert b"item_neighbours" not in learner.delta().encode()
    assert "neighbours" not in make_snapshot(learner, SnapshotOrigin(1, 1)).items
