"""Tasks are learned from judged impressions: labels that are planted are foretold."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from hsnn.trainer.config.model import TrainerConfig
from hsnn.trainer.features.queries import QueryArrays
from hsnn.trainer.optim.batch import LabelledItems
from hsnn.trainer.training.learner import Learner
from hsnn.trainer.training.prepared import PreparedBatch

pytestmark = pytest.mark.slow


@pytest.fixture
def tasked(config: TrainerConfig) -> Callable[..., TrainerConfig]:
    """``tasked(1.0, children=(3,))``: a model with two tasks, and the weight of what is learned for them."""

    def make(weight: float, **model: Any) -> TrainerConfig:
        shape = config.model.model_copy(update={"tasks": ("click", "like"), **model})
        return config.model_copy(update={"model": shape, "judgement_weight": weight})

    return make


def shown(learner: Learner, prepared: PreparedBatch, rng: np.random.Generator, size: int = 48) -> LabelledItems:
    """Impressions at the moments of a batch's events; a click if the item is of the user's cluster, a like never."""
    asked = rng.integers(len(prepared.items), size=size)
    items = rng.integers(len(learner.items), size=size)
    cluster = np.array([int(name[1]) for name in learner.items.table.ids])
    labels = np.zeros((size, 2), np.float32)
    labels[:, 0] = cluster[items] == cluster[prepared.items[asked]]  # users click in their own cluster
    return LabelledItems(
        QueryArrays(*(column[asked] for column in prepared.queries)),
        items.astype(np.int64),
        labels,
        np.ones(2, np.float32),
        learner.states.features(items, int(prepared.ts.max())),
    )


def course(learner: Learner, world: Any, batches: int) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Chances that were given before each batch, and the labels."""
    rng, probabilities, labels = np.random.default_rng(0), [], []
    for _ in range(batches):
        prepared = learner.prepare(world.batch(64))
        judged = shown(learner, prepared, rng)
        report = learner.train(replace(prepared, judged=judged))
        probabilities.append(report.probabilities)
        labels.append(judged.labels)
    return probabilities, labels


def bce(probabilities: list[np.ndarray], labels: list[np.ndarray]) -> float:
    chance, label = np.concatenate(probabilities), np.concatenate(labels)
    return float(-(label * np.log(chance) + (1 - label) * np.log1p(-chance)).mean())


@pytest.mark.parametrize(
    "model", [{}, {"nodes": 4, "children": (3,)}, {"over_arch": "mlp", "user_vectors": 2}], ids=str
)
def test_planted_labels_are_foretold(tasked, world, model):
    learner = Learner(tasked(1.0, **model))
    probabilities, labels = course(learner, world, 120)
    late, said = np.concatenate(probabilities[-20:]), np.concatenate(labels[-20:])
    assert bce(probabilities[-20:], labels[-20:]) < 0.6 * bce(probabilities[:5], labels[:5])
    clicked = said[:, 0] == 1
    assert late[clicked, 0].mean() > 2 * late[~clicked, 0].mean()
    assert late[:, 1].mean() < 0.1 * late[clicked, 0].mean()  # nobody likes anything
    assert late.shape == (20 * 48, 2)


def test_chances_are_given_before_the_labels_are_learned(tasked, new_world):
    """With other labels: the same probabilities in the same step, others in the next one."""
    probabilities = []
    for turned in (False, True):
        learner, world, rng = Learner(tasked(1.0)), new_world(), np.random.default_rng(0)
        own = []
        for _ in range(2):
            prepared = learner.prepare(world.batch(64))
            judged = shown(learner, prepared, rng)
            judged = replace(judged, labels=1 - judged.labels) if turned else judged
            own.append(learner.train(replace(prepared, judged=judged)).probabilities)
        probabilities.append(own)
    assert np.array_equal(probabilities[0][0], probabilities[1][0])
    assert not np.array_equal(probabilities[0][1], probabilities[1][1])


def test_tasks_without_weight_change_nothing_but_their_heads_memory(tasked, new_world):
    """At weight 0 the items, nodes and towers are learned as without impressions, to the last bit of the loss."""
    losses = []
    for judged in (False, True):
        learner, world, rng = Learner(tasked(0.0)), new_world(), np.random.default_rng(0)
        own = []
        for _ in range(10):
            prepared = learner.prepare(world.batch(64))
            more = {"judged": shown(learner, prepared, rng)} if judged else {}
            own.append(learner.train(replace(prepared, **more)).loss)
        losses.append(own)
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)


@pytest.mark.parametrize("seeded", [False, True])
def test_an_item_in_no_node_is_judged_too(tasked, world, with_index, seeded):
    learner = Learner(with_index(tasked(1.0), seed_after=64 if seeded else 10**6))
    learner.train(learner.prepare(world.batch(64)))
    learner.train(learner.prepare(world.batch(64)))
    assert learner.network.seeded == seeded
    learner.prepare(world.clicks([], [], items=[world.item("c1-new")]))
    prepared = learner.prepare(world.batch(64))
    row = learner.items.table.find(["c1-new"])[0]
    judged = shown(learner, prepared, np.random.default_rng(0), 1)
    judged = replace(judged, items=np.array([row]), states=learner.states.features(np.array([row]), world.now))
    report = learner.train(replace(prepared, judged=judged))
    assert np.isfinite(report.probabilities).all()
    assert report.events == 64


def test_what_is_judged_is_learned_with_its_item(tasked, world):
    """A judged item that is in no candidate set moves."""
    learner = Learner(tasked(1.0).model_copy(update={"uniform_negatives": 0}))
    learner.train(learner.prepare(world.batch(64)))
    learner.prepare(world.clicks([], [], items=[world.item("c1-new")]))
    prepared = learner.prepare(world.batch(8))
    row = learner.items.table.find(["c1-new"])[0]
    known = np.flatnonzero((prepared.queries.history_items >= 0).any(1))[:1]
    judged = LabelledItems(
        QueryArrays(*(column[known] for column in prepared.queries)),
        np.array([row]),
        np.ones((1, 2), np.float32),
        np.ones(2, np.float32),
        learner.states.features(np.array([row]), world.now),
    )
    assert not learner.network.items.ids.weight[row].any()
    learner.train(replace(prepared, judged=judged))
    assert learner.network.items.ids.weight[row].any()
