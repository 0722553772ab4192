"""Streaming VQ's nodes against the paper's sums, one item after another."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from hsnn.trainer.index.learners.streaming_vq import StreamingVq

every_depth = pytest.mark.parametrize("levels", [1, 2, 3])


def paper(small, steps: int) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Node vectors and counts per level after steps on the same batch: ``w = a w + (1-a) delta^beta v, c = w / n``."""
    keep = small.config.index.decay
    hierarchy = small.levels.hierarchy
    codes = [made.detach().numpy().astype(np.float64).copy() for made in hierarchy.codes]
    counts = [np.ones(len(made)) for made in codes]
    sums = [made.copy() for made in codes]
    for _ in range(steps):
        residuals, nodes = followed(small.base.detach().numpy().astype(np.float64), codes, hierarchy.levels)
        for level in range(len(codes)):
            weight = np.exp(-0.25 * small.step.log_q.numpy().astype(np.float64))
            for k in range(len(codes[level])):
                own = nodes[level] == k
                sums[level][k] = keep * sums[level][k] + (1 - keep) * (weight[own, None] * residuals[level][own]).sum(0)
                counts[level][k] = keep * counts[level][k] + (1 - keep) * weight[own].sum()
            codes[level] = sums[level] / counts[level][:, None]
    return codes, counts


def followed(points: np.ndarray, codes: list[np.ndarray], counts: tuple[int, ...]) -> tuple[list, list]:
    """Residuals and nodes of the items at every level."""
    residuals, nodes, above = [], [], np.zeros(len(points), np.int64)
    for level, made in enumerate(codes):
        siblings = counts[level] // (counts[level - 1] if level else 1)
        family = above[:, None] * siblings + np.arange(siblings)  # (n, F)
        chosen = np.square(points[:, None] - made[family])[:, :, :-1].sum(2).argmin(1)
        above = family[np.arange(len(points)), chosen]
        residuals.append(points)
        nodes.append(above)
        points = points - made[above]
    return residuals, nodes


@every_depth
def test_nodes_are_running_means(toy, levels):
    small = toy(levels, learner="streaming_vq", discount=0.0, decay=0.8)
    learner = StreamingVq(small.config)
    expected, counts = paper(small, 5)
    for _ in range(5):
        learner.after_step(small.view())
    for level in range(levels):
        np.testing.assert_allclose(small.levels.hierarchy.codes[level].detach().numpy(), expected[level], atol=1e-4)
        np.testing.assert_allclose(learner.counts[level].numpy(), counts[level], rtol=1e-4)
        assert (small.levels.hierarchy.discount(level) == 1).all()


@every_depth
def test_small_nodes_are_favoured_among_their_siblings(toy, levels):
    small = toy(levels, learner="streaming_vq", discount=0.9)
    learner = StreamingVq(small.config)
    for _ in range(3):
        learner.after_step(small.view())
    for level in range(levels):
        siblings = small.levels.hierarchy.family_size(level)
        for family in range(small.config.model.levels[level] // siblings):
            part = slice(family * siblings, (family + 1) * siblings)
            counts = learner.counts[level][part]
            expected = (0.9 * counts / counts.mean()).clamp(0.05, 1.0)
            torch.testing.assert_close(small.levels.hierarchy.discount(level)[part], expected)


def test_the_discount_decides_where_an_item_is(toy):
    small = toy(1, learner="streaming_vq")
    hierarchy, points = small.levels.hierarchy, small.base.detach()
    nodes = hierarchy.assign_paths(points)[0].nodes
    other = (nodes + 1) % 12
    hierarchy.discount(0).fill_(1.0)
    hierarchy.discount(0)[other[0]] = 1e-6
    assert int(hierarchy.assign_paths(points)[0].nodes[0]) == int(other[0])


def test_a_node_that_was_moved_stays_where_it_was_put(toy):
    """Revival and snapping move nodes; the running mean goes on from there, not from where the node died."""
    small = toy(1, learner="streaming_vq", discount=0.0, decay=0.9)
    learner, codes = StreamingVq(small.config), small.levels.hierarchy.codes[0].data
    for _ in range(20):
        learner.after_step(small.view())
    small.base.data[3] = target = torch.tensor([50.0, 50.0, 50.0, 50.0])  # away from all others
    dead = int(np.setdiff1d(np.arange(12), small.view().paths[0].nodes.numpy())[0])
    codes[dead] = target + 1.0
    for _ in range(20):
        before = (codes[dead] - target).norm()
        learner.after_step(small.view())
        assert (codes[dead] - target).norm() <= before
    assert (codes[dead] - target).norm() < 0.1


@pytest.mark.slow
def test_an_unused_node_shrinks_and_then_follows_its_first_items(toy):
    small = toy(1, learner="streaming_vq", decay=0.5)
    learner, codes = StreamingVq(small.config), small.levels.hierarchy.codes[0].data
    dead = int(np.setdiff1d(np.arange(12), small.view().paths[0].nodes.numpy())[0])
    codes[dead] = 1e4
    for _ in range(300):
        learner.after_step(small.view())
    assert learner.counts[0][dead] == 0
    assert (codes[dead] == 1e4).all()
    assert all(torch.isfinite(made).all() for made in small.levels.hierarchy.codes)
    assert torch.isfinite(small.levels.hierarchy.discount(0)).all()
    nodes = small.view().paths[0].nodes
    item = int(torch.nonzero(nodes == torch.bincount(nodes).argmax())[0])  # one of several in its node
    codes[dead] = small.base.detach()[item] + 0.01
    own = small.view().paths[0].nodes == dead
    weight = torch.exp(-0.25 * small.step.log_q)[own, None]
    learner.after_step(small.view())
    torch.testing.assert_close(codes[dead], (weight * small.base.detach()[own]).sum(0) / weight.sum())
