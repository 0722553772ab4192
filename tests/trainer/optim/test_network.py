"""One step of training: what gets a gradient, what does not, and in which direction."""

from __future__ import annotations

import numpy as np
import pytest

from hsnn.trainer.optim.step import StepCandidates
from hsnn.trainer.training.learner import Learner


@pytest.fixture
def learner(taught, copy_of):
    return copy_of(taught[0])


@pytest.fixture
def question(learner, new_world, candidates_of):
    """What `Network.step` is asked about a batch that was not learned yet."""

    def ask(size: int = 32):
        world = new_world(seed=9)
        world.now = learner.watermark
        prepared = learner.prepare(world.batch(size))
        candidates = candidates_of(learner, prepared)
        return [prepared.queries, candidates, prepared.weights, learner.leaves, learner.events]

    return ask


def gradients(learner: Learner, question: list, *, nodes: bool = True) -> dict[str, np.ndarray]:
    """Gradients of the dense weights and of the embedding rows, with or without the learned levels' loss."""
    network, found = learner.network, {}
    loss_of, taught = network.objective.loss, network.compute_loss.distillation_losses
    if not nodes:
        network.objective.loss = lambda view: loss_of(view).detach()
        network.compute_loss.distillation_losses = lambda **kwargs: taught(**kwargs).detach()
    network.optimizer.adam.step = lambda: found.update(
        {
            name: weight.grad.numpy().copy()
            for name, weight in network.monn.named_parameters()
            if weight.grad is not None
        }
    )
    for name, table in network.tables.items():
        table.apply_gradients = lambda rows, leaf, rate, name=name: found.update({name: leaf.grad.numpy().copy()})
    network.step(*question)
    return found


def test_the_index_costs_the_item_level_nothing(learner, copy_of, question):
    asked = question()
    joint, alone = gradients(copy_of(learner), asked), gradients(copy_of(learner), asked, nodes=False)
    own = {name for name in joint if name.startswith(("levels.", "node_"))}
    assert {"levels.hierarchy.codes.0", "levels.over_archs.0.bias", "node_user_tower.layers.0.weight"} <= own
    assert not own & {name for name, gradient in alone.items() if gradient.any()}
    towers = {"item_user_tower.layers.0.weight", "state_tower.layers.0.weight", "over_arch.ensemble"}
    assert towers | {"items", "content", "features"} <= set(alone)
    for name in joint.keys() - own:
        assert joint[name].tobytes() == alone[name].tobytes(), name


def test_only_the_rows_of_the_batch_change(learner, question):
    asked = question()
    candidates, known = asked[1], asked[0].history_items
    items, content = learner.network.items.ids, learner.network.items.content
    before = items.weight.copy(), content.weight.copy(), items.accumulator.copy()
    learner.network.step(*asked)
    used = np.union1d(candidates.rows, known[known >= 0])
    changed = np.flatnonzero((items.weight != before[0]).any(1))
    assert set(changed) <= set(used)
    assert len(changed) > 20
    assert set(np.flatnonzero(items.accumulator != before[2])) <= set(used)
    tokens = learner.items.tokens[used]
    assert set(np.flatnonzero((content.weight != before[1]).any(1))) <= set(tokens[tokens >= 0])


@pytest.mark.slow
def test_log_q_is_subtracted_from_the_logits(learner, copy_of, question):
    """Make one negative frequent: the step must push its bias down LESS than when it was rare."""
    asked = question()
    candidates: StepCandidates = asked[1]
    negative = int(np.setdiff1d(np.arange(len(candidates.rows)), candidates.targets)[0])
    row, biases = int(candidates.rows[negative]), {}
    for log_q in (-4.0, 0.0, 4.0):
        copy = copy_of(learner)
        changed = candidates.log_q.copy()
        changed[negative] += log_q
        leaf = {}
        copy.network.items.ids.apply_gradients = lambda rows, ids, rate, leaf=leaf: leaf.update(
            zip(rows.tolist(), ids.grad, strict=True)
        )
        copy.network.step(asked[0], candidates._replace(log_q=changed), *asked[2:])
        biases[log_q] = float(leaf[row][-1])
    assert biases[-4.0] > biases[0.0] > biases[4.0] > 0  # a positive gradient pushes down


def test_a_step_that_is_not_finite_changes_nothing_and_is_counted(learner, new_world):
    world = new_world(seed=5)
    world.now = learner.watermark
    prepared = learner.prepare(world.batch(32))
    learner.network.items.content.weight[:, 0] = np.nan
    before, events = learner.network.full_state(), learner.events
    report = learner.train(prepared)
    assert (report.events, report.unsafe) == (0, 32)
    assert not np.isfinite(report.loss)
    assert learner.events == events
    after = learner.network.full_state()
    assert all(after[name].tobytes() == before[name].tobytes() for name in before)


@pytest.mark.slow
@pytest.mark.parametrize("uniform", [0, 5])
def test_few_or_no_uniform_negatives(config, world, teach, uniform):
    """With none at all, the usage of the nodes is not known; it must not be taken for zero."""
    learner = Learner(config.model_copy(update={"uniform_negatives": uniform}))
    report = teach(learner, world, 12)
    assert learner.network.seeded
    assert np.isfinite(report[:2]).all()
    assert learner.network.objective.usage.shares[0].sum() == pytest.approx(1.0, abs=1e-4)


def test_an_empty_index_waits_for_living_items(config, world, with_index):
    """All items known so far are idle when the nodes are due: seeding waits for the next batch."""
    learner = Learner(with_index(config, seed_after=64).model_copy(update={"expire_after_idle": 600.0}))
    learner.train(learner.prepare(world.batch(64)))
    world.now += 3_600_000
    learner.train(learner.prepare(world.clicks(["u1"] * 4, learner.items.table.ids[:4])))
    assert not learner.network.seeded
    learner.train(learner.prepare(world.batch(16)))
    assert learner.network.seeded
