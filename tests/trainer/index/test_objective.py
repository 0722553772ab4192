"""The losses of the levels against plain loops, and the direction in which they push."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from hsnn.trainer.index.levels import level_log_shares
from hsnn.trainer.index.objective import (
    IndexObjective,
    beam_negative_loss,
    distillation_loss,
    interaction_loss,
    node_log_loss,
    opened_nodes,
    reconstruction_loss,
)

every_depth = pytest.mark.parametrize("levels", [1, 2, 3])


@every_depth
def test_the_surprise_is_the_log_loss_of_the_leaf(toy, levels):
    """With ensemble weights of one: summed over levels, it is that of the leaf among all leaves."""
    small = toy(levels)
    with torch.no_grad():
        small.levels.ensemble.fill_(1.0)
    view, step = small.view(), small.step
    shares = level_log_shares(step.leaf_log_share, small.config.model.levels)
    log_p = small.levels.log_probs(step.users, shares)
    leaves = view.leaves[step.targets.numpy()]
    losses = -log_p[torch.arange(len(leaves)), torch.from_numpy(leaves)]
    torch.testing.assert_close(node_log_loss(view), (losses * step.weight).sum() / step.weight.sum())


def test_a_mask_keeps_some_users_at_some_levels(toy):
    small = toy(2)
    view, step = small.view(), small.step
    everybody = [torch.ones(7), torch.ones(7)]
    torch.testing.assert_close(node_log_loss(view, everybody), node_log_loss(view))
    assert float(node_log_loss(view, [torch.zeros(7), torch.zeros(7)]).detach()) == 0.0
    some = [torch.zeros(7), torch.zeros(7)]
    some[1][3] = 1.0
    scores, target = view.scores[1], int(step.targets[3])
    own = scores.own[3, scores.families[target], view.paths[1].choice[target]]
    expected = -own * step.weight[3] / step.weight.sum()
    torch.testing.assert_close(node_log_loss(view, some), expected)


def opened_by_hand(small, user, beam):
    return [
        {node: level[node] for node in sorted(level, key=level.__getitem__, reverse=True)[:beam]}
        for level in small.plain_beam(user, beam)
    ]


@every_depth
@pytest.mark.parametrize("beam", [1, 2, 3, 100])
def test_beam_negatives_by_hand(toy, levels, beam):
    """The target's node against the nodes that a search opens: each once, and the target's own not twice."""
    small = toy(levels, items=4)
    view, step, total = small.view(), small.step, 0.0
    for user, target in enumerate(step.targets.tolist()):
        for level, opened in enumerate(opened_by_hand(small, user, beam)):
            wanted = int(view.paths[level].nodes[target])
            own = float(view.scores[level].log_p[user, view.scores[level].columns[target]].detach())
            rivals = opened | {wanted: own}
            loss = math.log(sum(math.exp(log_p) for log_p in rivals.values())) - own
            total += loss * float(step.weight[user] / step.weight.sum())
    assert float(beam_negative_loss(view, beam).detach()) == pytest.approx(total, rel=1e-4, abs=1e-5)


def test_beam_negatives_of_a_beam_that_opens_everything_are_the_surprise(toy):
    view = toy(1).view()
    torch.testing.assert_close(beam_negative_loss(view, 12), node_log_loss(view))


@pytest.mark.parametrize("levels", [2, 3])
def test_rivals_come_from_families_that_no_candidate_lies_in(toy, levels):
    """One candidate touches one family of the leaves; the nodes that a search opens elsewhere feel the loss too."""
    small = toy(levels, items=1)
    view, codes = small.view(), small.levels.hierarchy.codes[-1]
    beam_negative_loss(view, 3).backward()
    leaves = small.config.model.leaves
    family = torch.arange(leaves) // small.levels.hierarchy.family_size(levels - 1)
    own = family == family[int(view.leaves[0])]
    opened = torch.zeros(leaves, dtype=torch.bool)
    for user in range(7):
        opened[list(small.plain_beam(user, 3)[-1])] = True
    assert (opened & ~own).any()
    assert codes.grad is not None
    torch.testing.assert_close(codes.grad[:, :-1].any(1), opened | own)


@every_depth
def test_opened_nodes_are_those_of_a_search(toy, levels):
    small = toy(levels)
    found = opened_nodes(small.view(), 3)
    for user in range(7):
        for level, opened in enumerate(opened_by_hand(small, user, 3)):
            log_p = dict(zip(found[level].nodes[user].tolist(), found[level].log_p[user].tolist(), strict=True))
            assert log_p == pytest.approx(opened, abs=1e-4)


@every_depth
def test_reconstruction_by_hand(toy, levels):
    small = toy(levels)
    view = small.view()
    points = view.projected.detach()
    sums = small.levels.hierarchy.node_vectors(levels - 1)[torch.from_numpy(view.leaves)].detach()
    expected = float((points - sums).square().sum() / points.square().sum())
    assert float(reconstruction_loss(view).detach()) == pytest.approx(expected, rel=1e-4)


@every_depth
def test_reconstruction_is_nothing_where_codes_add_up_to_the_items(toy, levels):
    small = toy(levels, items=12, learner="lti")
    hierarchy = small.levels.hierarchy
    with torch.no_grad():
        hierarchy.codes[0].mul_(50)  # so that the nearest node is the item's own
        for finer in range(1, levels):
            hierarchy.codes[finer].mul_(50 / 10**finer)
        small.base.copy_(hierarchy.node_vectors(levels - 1))
        view = small.view()
        assert view.leaves.tolist() == list(range(12))
        assert float(reconstruction_loss(view)) == pytest.approx(0.0, abs=1e-9)
        small.base.add_(1.0)
        assert float(reconstruction_loss(small.view())) > 1e-5


def teacher_and_student(small, logits: torch.Tensor, log_share: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Both distributions over the candidates, (B, U)."""
    view = small.view()
    log_q = small.step.log_q.numpy()
    student = view.leaf_log_probs.detach().numpy() + log_share.numpy()
    return softmax(logits.numpy() - log_q), softmax(student - log_q)


def softmax(values: np.ndarray) -> np.ndarray:
    grown = np.exp(values - values.max(1, keepdims=True))
    return grown / grown.sum(1, keepdims=True)


@pytest.fixture
def example(toy):
    """A toy, the item level's logits (B, U), and the candidates' log share in their leaves (U,)."""
    small = toy(2)
    generator = torch.Generator().manual_seed(5)
    return small, 2 * torch.randn(7, 15, generator=generator), torch.rand(15, generator=generator).log()


def test_distillation_by_hand(example):
    small, logits, log_share = example
    view, log_q, total = small.view(), small.step.log_q.tolist(), 0.0
    coarse = view.leaf_log_probs.tolist()
    for user in range(7):
        wanted = [float(logit) - q for logit, q in zip(logits[user], log_q, strict=True)]
        said = [coarse[user][item] + float(log_share[item]) - log_q[item] for item in range(15)]
        norm = math.log(sum(map(math.exp, said)))
        weights = [math.exp(value) / sum(map(math.exp, wanted)) for value in wanted]
        total -= sum(weight * (value - norm) for weight, value in zip(weights, said, strict=True))
    assert float(distillation_loss(view, logits, log_share).detach()) == pytest.approx(total / 7, rel=1e-4)


@pytest.mark.slow
def test_distillation_moves_the_students_order_towards_the_teachers(example):
    """Each small step down the gradient brings the two distributions closer, and no gradient reaches the teacher."""
    small, logits, log_share = example
    logits.requires_grad_()
    apart = []
    for _ in range(30):
        teacher, student = teacher_and_student(small, logits.detach(), log_share)
        apart.append((teacher * np.log(teacher / student)).sum(1).mean())
        for weights in (*small.levels.parameters(), *small.step.users):
            weights.grad = None
        distillation_loss(small.view(), logits, log_share).backward()
        with torch.no_grad():
            for weights in small.step.users:
                weights -= 0.1 * weights.grad
    assert logits.grad is None
    assert (np.diff(apart) < 0).all()
    assert apart[-1] < 0.8 * apart[0]


def test_distillation_pushes_a_leaf_up_where_the_teacher_likes_its_items(example):
    """The gradient on what a level says of a candidate is student minus teacher."""
    small, logits, log_share = example
    view = small.view()
    coarse = view.leaf_log_probs.detach().requires_grad_()
    view = replace(view, scores=[*view.scores[:-1], view.scores[-1]._replace(log_p=coarse, columns=torch.arange(15))])
    distillation_loss(view, logits, log_share).backward()
    teacher, student = teacher_and_student(small, logits, log_share)
    np.testing.assert_allclose(coarse.grad.numpy(), (student - teacher) / 7, atol=1e-6)


def test_distillation_subtracts_log_q(example):
    """An item that is often in the sample weighs less, in the teacher's and in the student's distribution."""
    small, logits, log_share = example
    view = small.view()
    coarse = view.leaf_log_probs.detach()

    def pull(log_q: float) -> float:
        said = coarse.clone().requires_grad_()
        changed = small.step.log_q.clone()
        changed[4] += log_q
        last = view.scores[-1]._replace(log_p=said, columns=torch.arange(15))
        distillation_loss(
            replace(view, batch=replace(view.batch, log_q=changed), scores=[*view.scores[:-1], last]), logits, log_share
        ).backward()
        return float(said.grad[:, 4].abs().sum())

    assert pull(-3.0) > pull(0.0) > pull(3.0) > 0


def test_a_student_that_says_what_the_teacher_says_has_nothing_to_learn(example):
    small, _, log_share = example
    view = small.view()
    coarse = view.leaf_log_probs.detach().requires_grad_()
    view = replace(view, scores=[*view.scores[:-1], view.scores[-1]._replace(log_p=coarse, columns=torch.arange(15))])
    distillation_loss(view, coarse.detach() + log_share + 3.0, log_share).backward()  # up to a constant
    assert float(coarse.grad.abs().max()) < 1e-6


def test_interaction_towers_learn_what_cross_features_add(toy):
    """Mean squared error over levels; the item level's part is a constant."""
    small = toy(2)
    model = small.config.model.model_copy(update={"cross": True})
    torch.manual_seed(1)
    levels = small.levels.__class__(model)
    view = IndexObjective(small.config.model_copy(update={"model": model})).forward(levels, small.step)
    wanted = torch.randn(7, 15, requires_grad=True)
    expected = 2 * float(wanted.square().mean().detach())  # the towers start at zero
    loss = interaction_loss(view, wanted)
    assert float(loss.detach()) == pytest.approx(expected, rel=1e-5)
    loss.backward()
    assert wanted.grad is None
    for over_arch in levels.over_archs:
        assert over_arch.crossing.weight.grad.any()
        with torch.no_grad():
            over_arch.crossing.weight -= 0.1 * over_arch.crossing.weight.grad
    assert float(interaction_loss(view, wanted).detach()) < expected
