"""K-means beside the steps, and passes over all items: the same bits however late a thread is, wherever one stops."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import pytest

from hsnn.trainer.checkpoint.digest import digest
from hsnn.trainer.index import background_fit
from hsnn.trainer.index import maintenance as index_maintenance
from hsnn.trainer.training import maintenance
from hsnn.trainer.training.learner import Learner

STEPS = 5
"""Steps that a fit takes here."""


def told(learner: Learner) -> str:
    arrays, values = learner.state_dict()
    return digest(arrays, {"learner": values})


@pytest.fixture
def sliced(monkeypatch) -> None:
    """120 items are too many for one step."""
    monkeypatch.setattr(background_fit, "FIT_STEPS", STEPS)
    for module in (background_fit, maintenance):
        monkeypatch.setattr(module, "GATHERED_AT_ONCE", 24)
    monkeypatch.setattr(maintenance, "SLICE", 24)


@pytest.fixture
def learner(config, with_index) -> Callable[[], Learner]:
    """A new learner that seeds after 1,024 events, refits every 1,024, and begins with the shortest half-life."""
    chosen = with_index(config, learner="em", seed_after=1024, kmeans_every=1024)

    def make() -> Learner:
        made = Learner(chosen)
        made.half_life = 0
        return made

    return make


@pytest.fixture
def hours(new_world) -> Callable[[], object]:
    """An hour lies between two clicks, so that the longest half-life soon is the best."""
    return lambda: new_world(step=3_600_000)


def under_way(learner: Learner) -> str:
    """What is in progress: for tests that must not pass because nothing was."""
    fit, passes = learner.network.fit, learner.passes
    parts = {
        "gather": fit is not None and fit.adopted_at is None,
        "thread": fit is not None and fit.adopted_at is not None,
        "assign": passes.assigned is not None,
        "weigh": passes.half_life is not None,
    }
    return "+".join(name for name, is_so in parts.items() if is_so)


@pytest.mark.slow
def test_a_restart_at_any_step_ends_with_the_same_bits(sliced, learner, hours, copy_of):
    straight, world = learner(), hours()
    batches = [world.batch(64) for _ in range(48)]
    for batch in batches:
        straight.train(straight.prepare(batch))
    broken, seen = learner(), set[str]()
    for batch in batches:
        broken.train(broken.prepare(batch))
        seen.add(under_way(broken))
        broken = copy_of(broken)
    assert told(broken) == told(straight)
    assert {"gather", "thread", "assign", "weigh"} <= {part for parts in seen for part in parts.split("+")}
    assert straight.network.seeded
    assert straight.half_life == straight.half_lives.best > 0


@pytest.mark.slow
def test_a_late_thread_is_waited_for_and_changes_nothing(sliced, learner, hours, monkeypatch, teach):
    fast, late = learner(), learner()
    teach(fast, hours(), 42)
    refit, waited = index_maintenance.refit, []

    def slow_refit(*arguments, **options):
        time.sleep(0.1)
        refit(*arguments, **options)
        waited.append(True)

    monkeypatch.setattr(index_maintenance, "refit", slow_refit)
    teach(late, hours(), 42)
    assert waited
    assert told(late) == told(fast)


@pytest.mark.slow
def test_nodes_are_taken_a_fixed_number_of_steps_after_the_thread_began(sliced, learner, hours):
    subject, world, began, taken = learner(), hours(), None, None
    for step in range(30):
        subject.train(subject.prepare(world.batch(64)))
        fit = subject.network.fit
        if began is None and fit is not None and fit.adopted_at is not None:
            began = step
            assert fit.adopted_at == step + STEPS
            assert not subject.network.seeded
        if taken is None and subject.network.seeded:
            taken = step
    assert began is not None
    assert taken == began + STEPS


@pytest.mark.slow
def test_a_pass_assigns_every_living_item_to_its_node(sliced, learner, hours, monkeypatch):
    subject, world = learner(), hours()
    while not subject.network.seeded:
        subject.train(subject.prepare(world.batch(64)))
    while subject.passes.assigned is not None:
        maintenance.assign_slice(subject)
    rows = np.arange(len(subject.items))
    assert (subject.leaves.node_of[rows] >= 0).all()
    # Weights have not changed since the last slices.
    last = rows[-24:]
    assert (subject.leaves.node_of[last] == subject.network.assign(last, subject.items.tokens)).all()


def test_a_new_half_life_counts_for_all_items_at_once(sliced, learner, hours):
    subject, world = learner(), hours()
    while subject.passes.half_life is None:
        subject.train(subject.prepare(world.batch(64)))
    before = subject.half_life
    while subject.passes.half_life is not None:
        assert subject.half_life == before
        maintenance.weigh_slice(subject)
    assert subject.half_life != before
    rows = np.arange(len(subject.items))
    # The first slice was computed by the weights of a step before, the last one by those of now.
    expected = subject.item_prior(rows, subject.half_life)
    np.testing.assert_allclose(subject.leaves.log_mass[rows], expected, atol=0.3)
    assert (subject.leaves.log_mass[rows[-24:]] == expected[-24:]).all()
