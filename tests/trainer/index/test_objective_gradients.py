"""Who feels which loss: the task loss on node vectors, the index's losses on item vectors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from hsnn.trainer.config.index import learner_names
from hsnn.trainer.config.model import TrainerConfig
from hsnn.trainer.index.objective import node_log_loss
from hsnn.trainer.training.learner import Learner

ALONE: dict[str, float] = {"routing": 0.0, "balance": 0.0, "joint": 0.0, "follow": 0.0, "distillation": 0.0}
"""With these the surprise of the levels is the only loss of the index."""
DETACHED = ("oneshot", "em", "sil")
MOVED_BY_THE_TASK = ("oneshot", "em", "lti")

every_learner = pytest.mark.parametrize("name", learner_names())


@pytest.fixture
def prepared_learner(
    config: TrainerConfig, with_index: Callable[..., TrainerConfig], new_world: type, teach: Any, candidates_of: Any
) -> Callable[..., tuple[Learner, list[Any]]]:
    """``prepared_learner("lti", balance=0.0)``: a two-level learner, and what `Network.step` is asked next."""

    def make(name: str, **index: Any) -> tuple[Learner, list[Any]]:
        model = config.model.model_copy(update={"nodes": 4, "children": (3,)})
        learner = Learner(
            with_index(config.model_copy(update={"model": model}), **{"learner": name, "seed_after": 256, **index})
        )
        world = new_world()
        teach(learner, world, 12)
        prepared = learner.prepare(world.batch(64))
        asked = [prepared.queries, candidates_of(learner, prepared), prepared.weights, learner.leaves, learner.events]
        return learner, asked

    return make


def gradients(learner: Learner, asked: list[Any], *, index: bool = True) -> dict[str, np.ndarray]:
    """Gradients that a step would be made with, by name; with or without the losses of the index."""
    network, found = learner.network, {}
    loss_of, taught = network.objective.loss, network.compute_loss.distillation_losses
    if not index:
        network.objective.loss = lambda view: loss_of(view).detach()  # type: ignore[method-assign]
        network.compute_loss.distillation_losses = lambda **kwargs: taught(**kwargs).detach()  # type: ignore[method-assign]
    network.optimizer.adam.step = lambda: found.update(  # type: ignore[method-assign]
        {
            name: weight.grad.numpy().copy()
            for name, weight in network.monn.named_parameters()
            if weight.grad is not None
        }
    )
    for name, table in network.tables.items():
        table.apply_gradients = lambda rows, leaf, rate, name=name: found.update({name: leaf.grad.numpy().copy()})  # type: ignore
    network.step(*asked)
    return found


def codes(found: dict[str, np.ndarray]) -> list[np.ndarray]:
    return [gradient for name, gradient in found.items() if ".codes." in name]


@pytest.mark.slow
@every_learner
def test_the_task_moves_the_nodes_of_joint_learners_only(prepared_learner, name):
    found = codes(gradients(*prepared_learner(name, **ALONE)))
    if name in MOVED_BY_THE_TASK:
        assert len(found) == 2
        assert all(np.abs(gradient).max() > 1e-6 for gradient in found)
    else:
        assert not found


@pytest.mark.slow
def test_the_supervised_loss_reaches_the_nodes_through_the_straight_through_assignment(prepared_learner):
    """Balance off, node scores cut off: what is left of the gradient of nodes and head is routing's."""
    learner, asked = prepared_learner("oneshot", balance=0.0, distillation=0.0)
    levels = learner.network.monn.levels
    features = levels.node_features
    levels.node_features = lambda level: features(level).detach()
    found = gradients(learner, asked)
    assert all(gradient.any() for gradient in codes(found))
    assert found["levels.hierarchy.head.weight"].any()


@pytest.mark.slow
@every_learner
def test_adam_does_not_move_nodes_that_the_task_may_not_move(prepared_learner, name):
    """In the whole course nothing but the learner itself has moved them: Adam remembers nothing of them."""
    learner, _ = prepared_learner(name)
    names = [name for name, _ in learner.network.monn.named_parameters()]
    own = {id(weight): name for name, weight in learner.network.monn.named_parameters()}
    remembered = {own[id(weight)] for weight in learner.network.optimizer.adam.state}
    assert {name for name in names if ".codes." in name} & remembered == (
        {f"levels.hierarchy.codes.{level}" for level in range(2)} if name in MOVED_BY_THE_TASK else set()
    )


@pytest.mark.slow
@every_learner
def test_what_the_index_costs_the_item_level(prepared_learner, name):
    """Nothing, to the last bit, where item vectors are detached."""
    joint = gradients(*prepared_learner(name))
    alone = gradients(*prepared_learner(name), index=False)
    own = {part for part in joint if part.startswith(("levels.", "node_"))}
    same = {part for part in joint.keys() - own if joint[part].tobytes() == alone[part].tobytes()}
    if name in DETACHED:
        assert same == joint.keys() - own
        assert {"items", "content", "features", "item_user_tower.layers.0.weight"} <= same
    else:
        assert not {"items", "content"} & same  # through the vectors of the items
        assert {"state_tower.layers.0.weight", "item_user_tower.layers.0.weight"} <= same  # and through nothing else


@pytest.mark.parametrize("name", ["lti", "streaming_vq"])
def test_the_joint_weight_is_a_weight_on_what_items_feel(toy, name):
    felt = []
    for joint in (0.0, 0.5, 1.0):
        small = toy(2, learner=name, balance=0.0, joint=joint)
        small.objective.loss(small.view()).backward()
        felt.append(torch.zeros_like(small.base) if small.base.grad is None else small.base.grad)
    assert not felt[0].any()
    assert (felt[2].abs().sum(1) > 0).all()  # every candidate is a target or a negative
    torch.testing.assert_close(2 * felt[1], felt[2])


@pytest.mark.parametrize("levels", [1, 2, 3])
@pytest.mark.parametrize("name", DETACHED)
def test_detached_items_feel_nothing_of_any_option(toy, name, levels):
    small = toy(levels, learner=name, balance=1.0, flops=1.0, reconstruction=1.0, beam_negatives=1.0)
    small.objective.loss(small.view()).backward()
    assert small.base.grad is None


@pytest.mark.parametrize("levels", [1, 2, 3])
def test_the_surprise_pulls_every_level_towards_the_targets(toy, levels):
    """A small step down the gradient makes the users' next items' leaves likelier."""
    small = toy(levels)
    before = node_log_loss(small.view())
    before.backward()
    with torch.no_grad():
        for weights in small.levels.parameters():
            if weights.grad is not None:
                weights -= 1e-3 * weights.grad
        for users in small.step.users:
            users -= 1e-3 * users.grad
    assert float(node_log_loss(small.view()).detach()) < float(before.detach())


@pytest.mark.parametrize("levels", [1, 2, 3])
def test_lti_by_hand(toy, levels):
    """``a = softmax(-alpha d^2)``, ``cbar = sum a c``, ``r = r - cbar``; softmax over pseudo items."""
    small = toy(levels, learner="lti", joint=1.0, sharpness=3.0)
    view = small.view()
    found = small.objective.learner.loss(view)
    hierarchy, step, total = small.levels.hierarchy, small.step, torch.tensor(0.0)
    items = small.base.detach()
    residual, summed = items.clone(), torch.zeros_like(items)
    for level in range(levels):
        siblings = hierarchy.family_size(level)
        families = [0 if level == 0 else int(view.paths[level - 1].nodes[item]) for item in range(len(items))]
        children = [hierarchy.codes[level][family * siblings : (family + 1) * siblings] for family in families]
        apart = torch.stack(
            [(own - codes)[:, :-1].square().sum(1) for own, codes in zip(residual, children, strict=True)]
        )
        soft = torch.softmax(-3.0 * apart / apart.mean(), 1)
        pseudo = torch.stack([share @ codes for share, codes in zip(soft, children, strict=True)])
        summed, residual = summed + pseudo, residual - pseudo
        for user, target in enumerate(step.targets.tolist()):
            heads = step.users[level][user].view(-1, 3)
            logits = torch.stack([torch.logsumexp(heads @ vector[:-1], 0) for vector in summed]) - step.log_q
            total = total - torch.log_softmax(logits, 0)[target] * step.weight[user] / step.weight.sum()
    assert float(found.detach()) == pytest.approx(float(total.detach()), rel=1e-3)


@pytest.mark.parametrize("levels", [1, 2, 3])
def test_oneshots_routing_by_hand(toy, levels):
    """The value is that of the hard codes; the gradient goes through the soft ones."""
    small = toy(levels, routing=0.7)
    view = small.view()
    found = small.objective.learner.loss(view)
    step, total, through = small.step, 0.0, torch.tensor(0.0)
    for level, scores in enumerate(view.scores):
        soft = view.soft(level)
        for user, target in enumerate(step.targets.tolist()):
            family, weight = int(scores.families[target]), step.weight[user] / step.weight.sum()
            gain = (scores.own[user, family] - scores.log_share[family]).detach()
            total -= float(weight * gain[view.paths[level].choice[target]])
            through = through - weight * (soft[target] * gain).sum()
    assert float(found.detach()) == pytest.approx(0.7 * total, rel=1e-4)
    for level in range(levels):
        made = small.levels.hierarchy.codes[level]
        (own,) = torch.autograd.grad(found, made, retain_graph=True)
        (by_hand,) = torch.autograd.grad(0.7 * through, made, retain_graph=True)
        assert own.any()
        torch.testing.assert_close(own, by_hand, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("levels", [1, 2, 3])
def test_following_nodes_by_hand(toy, levels):
    small = toy(levels, follow=0.25)
    view = small.view()
    before = [made.detach().clone() for made in small.levels.hierarchy.codes]
    small.objective.learner.after_step(view)
    for level, path in enumerate(view.paths):
        for node, code in enumerate(small.levels.hierarchy.codes[level].detach()):
            own = path.residual.detach()[path.nodes == node]
            expected = before[level][node] if len(own) == 0 else 0.75 * before[level][node] + 0.25 * own.mean(0)
            torch.testing.assert_close(code, expected)
