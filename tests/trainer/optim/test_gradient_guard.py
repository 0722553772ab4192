"""Steps that would wreck the model are not made, and leave no trace but in the counts."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from hsnn.trainer.optim.gradient_guard import GradientGuard, StepKind
from hsnn.trainer.training.learner import Learner
from hsnn.trainer.training.prepared import StepReport

Arrays = dict[str, np.ndarray]


def everything(learner: Learner) -> Arrays:
    """A copy of all arrays that training depends on, without what the guard remembers."""
    return {
        name: array.copy() for name, array in learner.state_dict()[0].items() if not name.startswith("network.guard.")
    }


def differing(before: Arrays, after: Arrays) -> set[str]:
    return {name for name in before if before[name].tobytes() != after[name].tobytes()}


@pytest.fixture
def exploding(taught, copy_of, new_world) -> Callable[[float | None], tuple[Learner, StepReport, Arrays]]:
    """Let a learner meet a batch whose gradient is 10,000 times the usual; what it was just before the step."""

    def meet(limit: float | None) -> tuple[Learner, StepReport, Arrays]:
        learner, world = copy_of(taught[0]), new_world(seed=5)
        learner.network.optimizer.guard.limit = limit
        world.now = learner.watermark
        prepared = learner.prepare(world.batch(32))
        backward = learner.network.optimizer.backward
        learner.network.optimizer.backward = lambda loss: backward(10_000 * loss)
        before = everything(learner)
        return learner, learner.train(prepared), before

    return meet


def test_an_exploding_gradient_changes_nothing_and_is_counted(exploding):
    learner, report, before = exploding(1000.0)
    assert (report.events, report.unsafe) == (0, 32)
    assert np.isfinite(report.loss)
    assert "is beyond 1000 times the usual" in report.refused
    assert differing(before, everything(learner)) == set()


def test_without_a_limit_it_is_learned_from(exploding):
    """The test above can fail: the same batch changes all of it where nothing refuses the step."""
    learner, report, before = exploding(None)
    assert (report.events, report.unsafe, report.refused) == (32, 0, "")
    parts = {name.split(".")[1] for name in differing(before, everything(learner)) if name.startswith("network.")}
    assert parts == {"monn", "adam", "items", "content", "features", "objective"}


def test_a_gradient_that_is_not_finite_is_refused_though_the_loss_is(taught, copy_of, new_world):
    learner, world = copy_of(taught[0]), new_world(seed=5)
    world.now = learner.watermark
    prepared = learner.prepare(world.batch(32))
    weight = learner.network.monn.over_arch.ensemble
    weight.register_hook(lambda gradient: gradient * float("inf"))
    before = everything(learner)
    report = learner.train(prepared)
    assert (report.unsafe, report.refused) == (32, "its gradient is not finite")
    assert differing(before, everything(learner)) == set()


@pytest.mark.slow
def test_ordinary_steps_are_far_from_the_limit(taught, copy_of, new_world, teach):
    learner, world = copy_of(taught[0]), new_world(seed=7)
    world.now = learner.watermark
    learner.network.optimizer.guard.limit = 30.0
    assert all(teach(learner, world, 1).unsafe == 0 for _ in range(30))


def test_a_restart_refuses_the_same_steps(taught, copy_of):
    guard, again = taught[0].network.optimizer.guard, copy_of(taught[0]).network.optimizer.guard
    assert guard.state_dict()["seen"][0] == 250
    assert {name: array.tobytes() for name, array in guard.state_dict().items()} == {
        name: array.tobytes() for name, array in again.state_dict().items()
    }


def test_a_young_model_may_do_anything_finite():
    guard = GradientGuard()
    assert [guard.refusal(StepKind.BATCH, norm) for norm in (1e-6, 1e6, 1e-6, 0.0)] == [""] * 4
    assert guard.refusal(StepKind.BATCH, float("inf")) != ""


def test_kinds_of_steps_have_norms_of_their_own():
    guard = GradientGuard(limit=10.0)
    for _ in range(100):
        assert guard.refusal(StepKind.BATCH, 100.0) == guard.refusal(StepKind.LABELLED, 1.0) == ""
    assert guard.refusal(StepKind.LABELLED, 100.0) != ""
    assert guard.refusal(StepKind.BATCH, 100.0) == guard.refusal(StepKind.EXTRA, 1e9) == ""


def test_what_stays_large_becomes_usual():
    guard = GradientGuard(limit=100.0)
    for _ in range(100):
        guard.refusal(StepKind.BATCH, 1.0)
    refused = [bool(guard.refusal(StepKind.BATCH, 1e4)) for _ in range(300)]
    assert refused[0]
    assert not refused[-1]
    assert refused == sorted(refused, reverse=True)


def test_steps_without_a_gradient_do_not_make_usual_steps_unusual():
    guard = GradientGuard()
    for _ in range(64):  # a catalogue of one item, or events without weight
        assert guard.refusal(StepKind.BATCH, 0.0) == ""
    assert [guard.refusal(StepKind.BATCH, 1.0) for _ in range(300)] == [""] * 300
    for _ in range(300):
        assert guard.refusal(StepKind.BATCH, 0.0) == ""
    assert guard.refusal(StepKind.BATCH, 1.0) == ""
    assert guard.refusal(StepKind.BATCH, 1001.0)
