"""A model that fell off a cliff is kept, but not published; once it is well again it is."""

from __future__ import annotations

import dataclasses
from copy import deepcopy
from typing import Any

import numpy as np
import pytest
import torch

from hsnn.monitoring.config import GateConfig, MonitoringConfig
from hsnn.streaming.schema.batch import Batch
from hsnn.trainer.metrics import HELD
from hsnn.trainer.online.drift import DriftMonitor
from hsnn.trainer.online.observation import begin_observation
from hsnn.trainer.training.learner import Learner

pytestmark = pytest.mark.slow

GATE = GateConfig(recent=512, usual=20_000, patience=256, warm_up=2048)


def watched(learner: Learner, watch: DriftMonitor, batches: list[Batch]) -> list[str]:
    """Kinds of the alarms while some batches are learned."""
    kinds = []
    for batch in batches:
        prepared = learner.prepare(batch)
        observe = begin_observation(learner, batch, prepared)
        kinds += [alarm.kind for alarm in watch.update(observe(learner.train(prepared)))]
    return kinds


def shuffled(batch: Batch, rng: np.random.Generator) -> Batch:
    """The same batch, but who clicked what is left to chance."""
    events = batch.engagements
    return dataclasses.replace(
        batch, engagements=dataclasses.replace(events, item=rng.permutation(list(events.item)).tolist())
    )


@pytest.fixture(scope="module")
def calm(config, new_world) -> tuple[Learner, DriftMonitor, Any]:
    """A learner in a world that holds still, its watch, and that world; not to be changed."""
    learner, watch, world = Learner(config), DriftMonitor(MonitoringConfig(gate=GATE)), new_world()
    assert "quality_cliff" not in watched(learner, watch, [world.batch(64) for _ in range(200)])
    return learner, watch, world


@pytest.fixture
def world(calm) -> Any:
    return deepcopy(calm[2])


@pytest.fixture
def started(calm, copy_of) -> tuple[Learner, DriftMonitor]:
    """A learner and its watch as they were then; the gate was never closed."""
    watch = DriftMonitor(MonitoringConfig(gate=GATE))
    watch.load_state_dict(deepcopy(calm[1].state_dict()))
    assert watch.hold_reason == ""
    return copy_of(calm[0]), watch


def test_broken_labels_hold_and_true_ones_release(started, world):
    learner, watch = started
    rng = np.random.default_rng(0)
    kinds = watched(learner, watch, [shuffled(world.batch(64), rng) for _ in range(40)])
    assert "quality_cliff" in kinds
    assert "above the usual" in watch.hold_reason
    assert HELD._value.get() == 1
    again = DriftMonitor(MonitoringConfig(gate=GATE))
    again.load_state_dict(watch.state_dict())
    assert again.hold_reason == watch.hold_reason
    kinds = watched(learner, watch, [world.batch(64) for _ in range(120)])
    assert "quality_recovered" in kinds
    assert (watch.hold_reason, HELD._value.get()) == ("", 0)


def test_broken_weights_hold(started, world):
    learner, watch = started
    weights = learner.network.items.content.weight
    weights[:] = np.random.default_rng(0).permutation(weights)
    ids = learner.network.items.ids.weight
    ids[:120] = np.random.default_rng(1).permutation(ids[:120])
    with torch.no_grad():  # counting alone would carry the answers
        learner.network.monn.state_tower.popularity.fill_(-1.0)
        learner.network.monn.pair_logits.scale.fill_(-0.1)
    assert "quality_cliff" in watched(learner, watch, [world.batch(64) for _ in range(20)])


def test_weights_that_are_not_finite_hold_for_good(started, world):
    learner, watch = started
    learner.network.items.content.weight[:] = np.nan
    assert watched(learner, watch, [world.batch(64) for _ in range(50)]) == ["quality_cliff"]
    assert "is not finite" in watch.hold_reason
