from __future__ import annotations

import pytest
import torch

from hsnn.trainer.config.model import ModelConfig
from hsnn.trainer.index.hierarchy import Hierarchy, soft_assignment, straight_through

CONFIG = ModelConfig(dim=4, nodes=3)


def test_distances_are_squared_distances():
    hierarchy = Hierarchy(CONFIG)
    points = torch.randn(5, 5)  # the last number is a bias
    expected = torch.cdist(hierarchy.project(points)[:, :-1], hierarchy.codes[0][:, :-1]).square()
    found = hierarchy.assign_paths(hierarchy.project(points))[0].distances
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    assert hierarchy.assign(points).tolist() == expected.argmin(1).tolist()


def test_no_gradient_reaches_the_items():
    hierarchy, points = Hierarchy(CONFIG), torch.randn(5, 5, requires_grad=True)
    hierarchy.assign_paths(hierarchy.project(points))[0].distances.sum().backward()
    assert points.grad is None
    assert hierarchy.codes[0].grad is not None
    assert hierarchy.head.weight.grad is not None


def test_straight_through_is_hard_forwards_and_soft_backwards():
    soft = torch.tensor([[0.2, 0.5, 0.3], [0.6, 0.1, 0.3]], requires_grad=True)
    codes = straight_through(soft)
    assert codes.tolist() == [[0, 1, 0], [1, 0, 0]]
    pull = torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
    (codes * pull).sum().backward()
    assert soft.grad is not None
    assert soft.grad.tolist() == pull.tolist()


def test_the_bias_passes_the_head_and_changes_no_assignment():
    """An item that nobody knows has none; it must not be away from its like for that."""
    torch.manual_seed(0)
    hierarchy, points = Hierarchy(ModelConfig(dim=4, nodes=6, children=(3,))), torch.randn(50, 5)
    torch.nn.init.normal_(hierarchy.head.weight)
    other = torch.cat([points[:, :-1], 10 * torch.randn(50, 1)], 1)
    assert hierarchy.assign(points).tolist() == hierarchy.assign(other).tolist()
    assert torch.equal(hierarchy.project(other)[:, -1], other[:, -1])


def test_a_metric_may_see_the_bias():
    hierarchy = Hierarchy(ModelConfig(dim=2, nodes=2))
    hierarchy.codes[0].data[:] = torch.tensor([[0.0, 0.0, 1.0], [0.0, 0.0, -1.0]])
    points = torch.tensor([[0.3, 0.0, 2.0], [0.3, 0.0, -2.0]])
    assert hierarchy.assign(points).tolist() == [0, 0]
    hierarchy.metric.copy_(torch.eye(3))
    assert hierarchy.assign(points).tolist() == [0, 1]


@pytest.mark.parametrize("scale", [0.01, 1.0, 100.0])
def test_sharpness_is_relative_to_the_distances(scale):
    distances = torch.tensor([[1.0, 2.0, 3.0]])
    assert soft_assignment(scale * distances, 5.0)[0].tolist() == pytest.approx(
        torch.softmax(-5.0 * distances / 2.0, 1)[0].tolist(), rel=1e-4
    )


def test_many_items_are_assigned_in_parts_to_the_same_leaves(monkeypatch):
    hierarchy = Hierarchy(ModelConfig(dim=4, nodes=8, children=(4,)))
    points = torch.randn(1000, 5)
    whole = hierarchy.assign(points)
    monkeypatch.setattr("hsnn.trainer.index.hierarchy._MANY", 100)
    monkeypatch.setattr("hsnn.trainer.index.hierarchy._AT_ONCE", 64)
    assert torch.equal(hierarchy.assign(points), whole)
