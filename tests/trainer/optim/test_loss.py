"""Parts of a step add up to the step: losses, gradients and what is looked at, for every learner and option."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from hsnn.trainer.config.index import learner_names
from hsnn.trainer.distributed.shard import FULL_SHARD, QueryShard
from hsnn.trainer.modules.losses import sampled_softmax_losses
from hsnn.trainer.optim.batch import LabelledItems
from hsnn.trainer.optim.gather import GatheredRows
from hsnn.trainer.optim.loss import ranks_among
from hsnn.trainer.optim.step import ExcludedPairs, GradientStep
from hsnn.trainer.training.learner import Learner


def taken_by(learner: Learner, step: GradientStep) -> GatheredRows:
    """Rows of the tables that a step needs."""
    asked = [step.queries] if step.judged is None else [step.queries, step.judged.queries]
    return learner.network._tables.gather(step.candidates.rows, step.candidates.tokens, asked, step.judged)


def gradients_of(learner: Learner, step: GradientStep, part: QueryShard) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Gradients and sums of one part of a step that is not made."""
    network, taken = learner.network, taken_by(learner, step)
    outcome = network.compute_loss(step.part_of(part), taken.part_of(part), step.totals(part))
    network.optimizer.backward(outcome.loss)
    found = [gradient.numpy().copy() for gradient in network.optimizer.gradients(taken)]
    return found, [one.numpy() for one in outcome.sums]


@pytest.fixture
def question(config: Any, with_index: Any, new_world: type, teach: Any, candidates_of: Any) -> Any:
    """``question("em", tasks=True)``: a learner with nodes, and a step that it has not made."""

    def make(name: str, *, tasks: bool = False, events: int = 33, **index: Any) -> tuple[Learner, GradientStep]:
        model = config.model.model_copy(
            update={"nodes": 4, "children": (3,), "cross": tasks, "tasks": ("click", "like") if tasks else ()}
        )
        changes = {"learner": name, "seed_after": 256, "interaction": 0.5, **index}
        learner, world = Learner(with_index(config.model_copy(update={"model": model}), **changes)), new_world()
        teach(learner, world, 8)
        prepared = learner.prepare(world.batch(events))
        candidates, rng = candidates_of(learner, prepared), np.random.default_rng(1)
        weights, judged = rng.random(events, np.float32) + np.float32(0.5), None
        if tasks:
            rows, items = rng.integers(events, size=19), rng.integers(len(learner.items), size=19)
            labels = rng.integers(2, size=(19, 2)).astype(np.float32)
            states = learner.states.features(items, world.now)
            cross = rng.random((19, candidates.cross.shape[2]), np.float32)
            judged = LabelledItems(
                prepared.queries.select(rows), items, labels, np.array([1, 3], np.float32), states, cross
            )
        since = learner.events - (learner.network.seeded_at or 0)
        return learner, GradientStep(prepared.queries, candidates, weights, learner.leaves, since, judged, fresh=20)

    return make


@pytest.mark.slow
@pytest.mark.parametrize("parts", [2, 3])
@pytest.mark.parametrize(
    ("name", "options"),
    [
        *((name, {}) for name in learner_names()),
        ("oneshot", {"flops": 0.2, "reconstruction": 0.3, "beam_negatives": 0.5, "ramp": 2000}),
        ("em", {"tasks": True}),
    ],
    ids=str,
)
def test_the_parts_of_a_step_add_up_to_it(question, name, options, parts):
    learner, step = question(name, **options)
    gradients, sums = gradients_of(learner, step, FULL_SHARD)
    own = [gradients_of(learner, step, QueryShard(number, parts)) for number in range(parts)]
    assert all(len(part[0]) == len(gradients) for part in own)
    for place, whole in enumerate(gradients):
        np.testing.assert_allclose(sum(part[0][place] for part in own), whole, rtol=1e-3, atol=2e-5)
    for place, whole in enumerate(sums):
        np.testing.assert_allclose(sum(part[1][place] for part in own), whole, rtol=1e-4, atol=1e-5)
    assert all(np.abs(part[0][0] - gradients[0]).max() > 1e-6 for part in own)  # each is but a part


@pytest.mark.slow
def test_a_part_may_be_without_new_events_or_judged_items(question):
    learner, step = question("em", tasks=True)
    few = step.judged.select(slice(0, 1))
    step = GradientStep(step.queries, step.candidates, step.weights, step.leaves, step.since_seeded, few, fresh=1)
    sums = gradients_of(learner, step, FULL_SHARD)[1]
    first, second = (gradients_of(learner, step, QueryShard(number, 2))[1] for number in range(2))
    assert first[0][2] == 0  # the item level's is of new events, the tasks' of judged ones
    assert second[0][0] == 0
    np.testing.assert_allclose(first[0] + second[0], sums[0], rtol=1e-5)


@pytest.mark.slow
def test_the_probes_of_two_workers_are_those_of_one(question):
    """The first events of the whole batch are probed, wherever they are; each worker fills in its own."""
    learner, step = question("em", events=6)
    whole, first, second = (
        learner.network.compute_loss(step.part_of(part), taken_by(learner, step).part_of(part), step.totals(part))
        for part in (FULL_SHARD, QueryShard(0, 2), QueryShard(1, 2))
    )
    filled = [part.sums.probes.any(1).nonzero().flatten().tolist() for part in (whole, first, second)]
    assert filled[0] == filled[1] + filled[2]
    assert filled[1]
    assert filled[2]
    torch.testing.assert_close(first.sums.probes + second.sums.probes, whole.sums.probes)


def test_ranks_are_the_shares_of_the_candidates_above_the_targets():
    logits = torch.tensor([[3.0, 1.0, 2.0, 0.0], [0.0, 0.0, 0.0, 0.0], [5.0, -1e4, -1e4, 4.0]], requires_grad=True)
    ranks = ranks_among(logits, torch.tensor([2, 1, 3]))
    assert ranks.tolist() == [0.25, 0.0, 0.25]  # equal ones are not above, barred ones below all
    assert not ranks.requires_grad


@pytest.mark.slow
def test_a_pair_that_would_not_be_served_has_neither_weight_nor_gradient(question):
    learner, step = question("em")
    targets = torch.from_numpy(step.candidates.targets)
    others = [next(item for item in range(9) if item != targets[query]) for query in (0, 2)]
    candidates = step.candidates._replace(excluded=ExcludedPairs(np.array([0, 2]), np.array(others)), facts=None)
    logits = torch.randn(len(targets), len(candidates.rows), generator=torch.manual_seed(0), requires_grad=True)
    served = learner.network.compute_loss._served_logits(candidates, logits)
    assert served.softmax(1)[[0, 2], others].tolist() == [0.0, 0.0]
    sampled_softmax_losses(served, torch.from_numpy(candidates.log_q), targets).sum().backward()
    assert logits.grad[[0, 2], others].tolist() == [0.0, 0.0]
    assert (logits.grad != 0).sum() == logits.numel() - 2


@pytest.mark.slow
def test_served_logits_are_the_logits_with_those_of_pair_facts(question):
    learner, step = question("em")
    facts, module = step.candidates.facts, learner.network.monn.pair_logits
    assert len(facts.query)
    assert len(facts.own_query)
    with torch.no_grad():
        module.own.uniform_(0.1, 1.0)
        near, past = module(facts)
        logits = torch.zeros(len(step.candidates.targets), len(step.candidates.rows))
        candidates = step.candidates._replace(excluded=ExcludedPairs(np.array([0, 3]), np.array([1, 2])))
        served = learner.network.compute_loss._served_logits(candidates, logits)
    expected = logits.clone()
    for query, candidate, logit in zip(facts.query, facts.candidate, near, strict=True):
        expected[query, candidate] += logit
    for query, candidate, logit in zip(facts.own_query, facts.own_candidate, past, strict=True):
        expected[query, candidate] += logit
    expected[[0, 3], [1, 2]] -= 1e4
    torch.testing.assert_close(served, expected, atol=2e-3, rtol=1e-5)  # beside 1e4 a float32 has steps of 0.001
