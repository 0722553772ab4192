"""The metric of the task: how far two items are is what it does to their users' scores."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hsnn.trainer.index.learners.em import Em, task_metric
from hsnn.trainer.training.learner import Learner


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 10_000), st.sampled_from([0.0, 0.3, 1.0, 2.0]))
def test_distances_are_those_of_the_users_scores(seed, weight):
    """Up to one factor: variance of the score's difference over users, and its squared mean with a weight."""
    rng = np.random.default_rng(seed)
    users = rng.normal(size=(30, 4)) * rng.random(4) * 3 + rng.normal(size=4)
    extended = torch.from_numpy(np.c_[users, np.ones(30)].astype(np.float32))
    metric = task_metric(extended.T @ extended / 30, weight).numpy()
    differences = rng.normal(size=(10, 5))
    scores = differences[:, :4] @ users.T + differences[:, 4:]  # (10, 30)
    expected = scores.var(1) + weight**2 * scores.mean(1) ** 2
    found = np.square(differences @ metric).sum(1)
    np.testing.assert_allclose(found / found.sum(), expected / expected.sum(), rtol=1e-2, atol=1e-4)


def test_the_metric_has_the_size_of_the_identity():
    users = torch.randn(50, 5)
    metric = task_metric(users.T @ users / 50, 0.5)
    assert float(metric.square().sum()) == pytest.approx(5.0, rel=1e-4)


def test_the_moment_is_a_running_mean_over_user_vectors(toy):
    small = toy(1, learner="em")
    learner = Em(small.config)
    before = small.levels.hierarchy.metric.clone()
    learner.update_metric(small.levels.hierarchy)
    assert torch.equal(small.levels.hierarchy.metric, before)  # nobody was seen
    first, second = torch.randn(6, 3), torch.randn(4, 3)
    learner.update_user_statistics(learner.user_statistics(first, 6))
    learner.update_user_statistics(
        learner.user_statistics(second[:1], 4) + learner.user_statistics(second[1:], 4)
    )  # in two parts
    moments = [np.c_[users.numpy(), np.ones(len(users))] for users in (first, second)]
    one, two = (made.T @ made / len(made) for made in moments)
    np.testing.assert_allclose(learner.moment.numpy(), 0.99 * one + 0.01 * two, atol=1e-5)
    learner.update_metric(small.levels.hierarchy)
    torch.testing.assert_close(small.levels.hierarchy.metric, task_metric(learner.moment, 0.5))


def test_users_are_seen_before_there_are_nodes_and_after(config, with_index, new_world, teach):
    learner, world = Learner(with_index(config, learner="em", seed_after=128)), new_world()
    moments = []
    for _ in range(4):
        teach(learner, world, 1)
        moments.append(learner.network.objective.learner.moment.clone())
    assert all(moment.any() for moment in moments)
    assert all(not torch.equal(one, other) for one, other in pairwise(moments))
    hierarchy = learner.network.monn.levels.hierarchy
    torch.testing.assert_close(hierarchy.metric, task_metric(moments[1], 0.5))  # as it was at the start


@pytest.mark.parametrize("seed_after", [10**6, 64])
def test_a_step_that_is_not_finite_is_not_seen(config, with_index, new_world, teach, seed_after):
    learner, world = Learner(with_index(config, learner="em", seed_after=seed_after)), new_world()
    teach(learner, world, 3)
    before = learner.network.objective.learner.moment.clone()
    learner.network.items.content.weight[:] = np.nan
    assert teach(learner, world, 1).unsafe == 64
    assert torch.equal(learner.network.objective.learner.moment, before)
