"""What keeps the hierarchy from collapsing; each can be switched off alone."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hsnn.trainer.config.index import IndexConfig, learner_names
from hsnn.trainer.index import maintenance, objective
from hsnn.trainer.index.kmeans import revive_nodes
from hsnn.trainer.index.maintenance import MaintenanceKind
from hsnn.trainer.index.regularizers import NodeUsage, flops_balance, kl_balance, sharpness_at, warm_up_factor
from hsnn.trainer.training.learner import Learner

pytestmark = pytest.mark.slow

every_depth = pytest.mark.parametrize("levels", [1, 2, 3])

LOSSES = {
    "balance": "kl_balance",
    "flops": "flops_balance",
    "reconstruction": "reconstruction_loss",
    "beam_negatives": "beam_negative_loss",
}
"""Options of the objective, and the function that computes each."""


@every_depth
@pytest.mark.parametrize("option", LOSSES)
def test_an_option_adds_its_loss_times_its_weight_and_at_0_is_not_computed(toy, monkeypatch, option, levels):
    off = dict.fromkeys(LOSSES, 0.0)
    function = getattr(objective, LOSSES[option])
    nothing = toy(levels, **off)
    for name in LOSSES.values():
        monkeypatch.setattr(objective, name, None)
    without = nothing.objective.loss(nothing.view()).detach()
    monkeypatch.setattr(objective, LOSSES[option], function)
    own = nothing.objective
    own.usage.shares = [np.linspace(0.01, 1.0, len(shares), dtype=np.float32) for shares in own.usage.shares]
    more = {"balance": (own.usage,), "beam_negatives": (3,)}.get(option, ())
    added = function(nothing.view(), *more).detach()
    small = toy(levels, **off | {option: 0.5})
    made = small.objective
    made.usage.shares = [shares.copy() for shares in own.usage.shares]
    torch.testing.assert_close(made.loss(small.view()).detach(), without + 0.5 * added)
    assert float(added) != 0


@pytest.mark.parametrize("option", ["distillation", "interaction"])
def test_what_the_item_level_teaches_can_be_switched_off(config, with_index, new_world, teach, monkeypatch, option):
    function = {"distillation": "distillation_loss", "interaction": "interaction_loss"}[option]
    monkeypatch.setattr("hsnn.trainer.optim.loss." + function, None)
    crossed = config.model_copy(update={"model": config.model.model_copy(update={"cross": True})})
    off = {"seed_after": 64, "distillation": 0.0, "interaction": 0.0}
    teach(Learner(with_index(crossed, **off)), new_world(), 3)
    learner, world = Learner(with_index(crossed, **off | {option: 0.1})), new_world()
    teach(learner, world, 1)
    with pytest.raises(TypeError, match="NoneType"):
        teach(learner, world, 1)


@pytest.mark.parametrize("option", ["routing", "joint", "follow", "discount"])
@pytest.mark.parametrize("name", learner_names())
def test_a_learners_own_losses_and_moves_can_be_switched_off(toy, name, option):
    """At 0, the option has no effect at all: neither on the loss nor on the nodes."""
    uses = {
        "routing": ("oneshot",),
        "joint": ("lti", "streaming_vq"),
        "follow": ("oneshot", "em"),
        "discount": ("streaming_vq",),
    }[option]
    effects = []
    for weight in (0.0, 0.5):
        small = toy(2, learner=name, **{option: weight})
        made = small.objective
        loss = made.learner.loss(small.view())
        made.learner.after_step(small.view())
        effects.append(
            (
                float(loss.detach()),
                [codes.detach().clone() for codes in small.levels.hierarchy.codes],
                [small.levels.hierarchy.discount(level).clone() for level in range(2)],
            )
        )
    same = effects[0][0] == effects[1][0] and all(
        torch.equal(a, b) for part in (1, 2) for a, b in zip(effects[0][part], effects[1][part], strict=True)
    )
    assert same == (name not in uses)
    if option in ("routing", "joint") and name in uses:
        assert effects[0][0] == 0.0
    if option == "follow" and name in uses:
        before = toy(2, learner=name).levels.hierarchy.codes
        assert all(torch.equal(a, b) for a, b in zip(effects[0][1], before, strict=True))
    if option == "discount":
        assert all((factors == 1).all() for factors in effects[0][2])


@pytest.mark.parametrize(
    ("option", "value", "kind"),
    [
        ("revive", True, MaintenanceKind.REVIVE),
        ("representatives", True, MaintenanceKind.REPRESENT),
        ("snap_every", 64, MaintenanceKind.SNAP),
    ],
)
def test_maintenance_is_done_if_it_is_wanted(config, with_index, new_world, teach, option, value, kind):
    off = {"revive": False, "representatives": False, "snap_every": 0}
    done: dict[bool, set[str]] = {}
    for wanted in (False, True):
        learner = Learner(with_index(config, seed_after=64, **off | ({option: value} if wanted else {})))
        done[wanted] = set()
        original = learner.network.maintain_index
        learner.network.maintain_index = lambda rows, tokens, kind, rng, seen=done[wanted], do=original: (
            seen.add(kind),
            do(rows, tokens, kind, rng),
        )
        teach(learner, new_world(), 66)
    assert done == {False: {MaintenanceKind.SEED}, True: {MaintenanceKind.SEED, kind}}


def test_alpha_grows_to_its_limit_or_is_fixed():
    assert sharpness_at(IndexConfig(sharpness=7.0), 0) == sharpness_at(IndexConfig(sharpness=7.0), 10**6) == 7.0
    config = IndexConfig(sharpness=7.0, sharpness_ramp=1000.0)
    alphas = [sharpness_at(config, events) for events in range(0, 10_000, 100)]
    assert alphas[0] == 1.0
    assert alphas[10] == pytest.approx(1 + 6 * (1 - math.exp(-1)))
    assert alphas == sorted(alphas)
    assert 6.99 < alphas[-1] < 7.0


def test_the_soft_assignment_becomes_hard_as_alpha_grows(toy):
    soft = []
    for events in (0, 1000, 10**6):
        small = toy(1, sharpness=500.0, sharpness_ramp=1000.0)
        small.step = replace(small.step, events=events)
        soft.append(float(small.view().soft(0).detach().max(1).values.mean()))
    assert soft == sorted(soft)
    assert soft[2] > 0.9 > soft[0]


def test_the_weight_of_the_index_losses_grows_linearly(toy):
    assert [warm_up_factor(IndexConfig(ramp=200), events) for events in (0, 50, 200, 1000)] == [0.0, 0.25, 1.0, 1.0]
    assert warm_up_factor(IndexConfig(ramp=0), 0) == 1.0
    full, half = toy(2, routing=0.3, balance=1.0, flops=1.0), toy(2, routing=0.3, balance=1.0, flops=1.0, ramp=200)
    assert float(half.objective.loss(half.view()).detach()) == pytest.approx(
        0.5 * float(full.objective.loss(full.view()).detach())
    )  # at event 100


def test_all_losses_of_the_index_warm_up(config, with_index, new_world, teach):
    """In the first step after the start none has any weight, those that the item level teaches included."""
    options = {"distillation": 1.0, "reconstruction": 1.0, "beam_negatives": 1.0, "flops": 1.0}
    learner, world = Learner(with_index(config, seed_after=64, ramp=10_000, **options)), new_world()
    teach(learner, world, 1)
    losses = [teach(learner, world, 1).node_loss for _ in range(3)]
    assert losses[0] == 0.0
    assert losses[2] == pytest.approx(2 * losses[1], rel=0.2)  # 64 and 128 events after the start


@every_depth
def test_kl_balance_by_hand(toy, levels):
    small = toy(levels)
    view, usage, rng = small.view(), NodeUsage(small.config.model.levels), np.random.default_rng(0)
    usage.shares = [rng.random(len(shares)).astype(np.float32) for shares in usage.shares]
    total = 0.0
    for level in range(levels):
        siblings = small.levels.hierarchy.family_size(level)
        for item in view.batch.uniform.tolist():
            first = int(view.paths[level].nodes[item]) // siblings * siblings
            shares = usage.shares[level][first : first + siblings]
            soft = view.soft(level)[item].tolist()
            total += sum(a * math.log(share / shares.mean()) for a, share in zip(soft, shares, strict=True))
    assert float(kl_balance(view, usage).detach()) * len(view.batch.uniform) == pytest.approx(total, rel=1e-3, abs=1e-3)


@pytest.mark.parametrize("level", [0, 1])
def test_kl_balance_pushes_items_out_of_crowded_nodes_within_the_family(toy, level):
    """One node in a family is crowded: soft mass of its family's items leaves it; other families feel nothing."""
    small = toy(2, items=40, learner="lti", sharpness=2.0)
    view, usage = small.view(), NodeUsage(small.config.model.levels)
    siblings = small.levels.hierarchy.family_size(level)
    crowded = int(view.paths[level].nodes[view.batch.uniform[0]])
    usage.shares[level][crowded] *= 20
    kl_balance(view, usage).backward()
    family = view.paths[level].nodes // siblings == crowded // siblings
    uniform = torch.zeros(40, dtype=torch.bool)
    uniform[torch.from_numpy(view.batch.uniform)] = True
    assert not small.base.grad[~uniform].any()
    before = view.soft(level).detach()[:, crowded % siblings]
    small.base.data -= 0.05 * small.base.grad / small.base.grad.abs().max()
    after = small.view().soft(level).detach()[:, crowded % siblings]
    mine = family & uniform & (small.view().paths[level].nodes == view.paths[level].nodes)
    assert mine.sum() >= 3
    assert after[mine].mean() < before[mine].mean()
    if level == 1:
        assert not small.base.grad[~family].any()


def test_usage_is_a_running_share_of_the_uniform_draws(toy):
    small = toy(3)
    usage, view = NodeUsage(small.config.model.levels), small.view()
    for _ in range(3):
        usage.update(view)
    for level, path in enumerate(view.paths):
        count = small.config.model.levels[level]
        drawn = np.bincount(path.nodes.numpy()[view.batch.uniform], minlength=count) / len(view.batch.uniform)
        expected = drawn + 0.98**3 * (1 / count - drawn)
        np.testing.assert_allclose(usage.shares[level], expected, rtol=1e-5)
        assert usage.shares[level].dtype == np.float32


def test_without_uniform_draws_nothing_is_balanced(toy):
    small = toy(2, balance=1.0, flops=1.0)
    small.step = replace(small.step, uniform=np.zeros(0, np.int64))
    view, usage = small.view(), NodeUsage(small.config.model.levels)
    before = [shares.copy() for shares in usage.shares]
    usage.update(view)
    assert all(np.array_equal(one, other) for one, other in zip(before, usage.shares, strict=True))
    assert float(kl_balance(view, usage)) == float(flops_balance(view)) == 0.0


@every_depth
def test_flops_balance_by_hand(toy, levels):
    """``K * sum over nodes of the square of the mean soft assignment``, summed over levels."""
    small = toy(levels, items=30)
    view, total = small.view(), 0.0
    for level, count in enumerate(small.config.model.levels):
        siblings, held = small.levels.hierarchy.family_size(level), np.zeros(count)
        for item in view.batch.uniform.tolist():
            first = int(view.paths[level].nodes[item]) // siblings * siblings
            held[first : first + siblings] += view.soft(level)[item].detach().numpy()
        total += count * np.square(held / len(view.batch.uniform)).sum()
    assert float(flops_balance(view).detach()) == pytest.approx(total, rel=1e-5)


@every_depth
@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 1000))
def test_flops_balance_is_smallest_where_all_nodes_hold_the_same(toy, levels, seed):
    small = toy(levels, items=24, seed=seed)
    assert float(flops_balance(small.view()).detach()) >= levels - 1e-4


@every_depth
def test_flops_balance_at_uniform(toy, levels):
    """One item on every leaf, nodes at the corners of a polygon, siblings below them even: 1 per level."""
    small = toy(levels, items=12, learner="lti")
    hierarchy, model = small.levels.hierarchy, small.config.model
    angles = 2 * math.pi * torch.arange(model.nodes) / model.nodes
    with torch.no_grad():
        for codes in hierarchy.codes:
            codes.zero_()
        hierarchy.codes[0][:, 0], hierarchy.codes[0][:, 1] = angles.cos(), angles.sin()
        if levels == 3:
            hierarchy.codes[1][:, 2] = torch.tensor([0.2, -0.2]).repeat(model.nodes)
        small.base.copy_(hierarchy.node_vectors(levels - 1))
    small.step = replace(small.step, uniform=np.arange(12))
    assert float(flops_balance(small.view()).detach()) == pytest.approx(levels, rel=1e-4)


def test_a_dead_child_is_revived_inside_its_family_only(toy):
    small = toy(2, items=60)
    hierarchy, points, usage = small.levels.hierarchy, small.base.detach(), NodeUsage(small.config.model.levels)
    paths = hierarchy.assign_paths(points)
    family = int(torch.bincount(paths[0].nodes).argmax())
    dead = family * 3 + 1
    with torch.no_grad():
        hierarchy.codes[1][dead] = 100.0
    usage.shares[1][:] = 1 / 12
    usage.shares[1][dead] = 1e-5
    before = [codes.detach().clone() for codes in hierarchy.codes]
    assert maintenance.revive_dead(hierarchy, usage, points, np.random.default_rng(0)) == 1
    assert torch.equal(hierarchy.codes[0], before[0])
    others = [node for node in range(12) if node != dead]
    assert torch.equal(hierarchy.codes[1][others], before[1][others])
    own = paths[1].residual[paths[0].nodes == family]
    apart = (own - hierarchy.codes[1][dead].detach()).norm(dim=1).min()
    assert apart < 0.05
    assert usage.shares[1][dead] == pytest.approx(usage.shares[1][family * 3 : family * 3 + 3].mean(), rel=0.5)


@pytest.mark.parametrize("siblings", [2, 3, 6])
def test_revival_by_hand_only_touches_the_dead(siblings):
    rng = np.random.default_rng(3)
    nodes, points = rng.normal(size=(6, 2)).astype(np.float32), rng.normal(size=(30, 2)).astype(np.float32)
    nearest = np.arange(30) % 6
    usage = np.full(6, 1 / 6, np.float32)
    nearest[nearest == 4] = 5
    usage[4], before = 0.0, nodes.copy()
    assert revive_nodes(nodes, usage, points, nearest, rng, siblings) == 1
    assert np.flatnonzero((nodes != before).any(1)).tolist() == [4]
    members = points[nearest // siblings == 4 // siblings]
    assert np.abs(members - nodes[4]).sum(1).min() < 0.02


def test_a_family_without_items_is_left_alone():
    nodes, usage = np.ones((4, 2), np.float32), np.array([0.5, 0.5, 0.0, 0.0], np.float32)
    assert (
        revive_nodes(nodes, usage, np.zeros((5, 2), np.float32), np.zeros(5, np.int64), np.random.default_rng(0), 2)
        == 0
    )
    assert (nodes == 1).all()
