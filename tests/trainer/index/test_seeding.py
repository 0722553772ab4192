from __future__ import annotations

import numpy as np
import pytest

from trainer.index.seeding import revive, seed_nodes


def test_nodes_are_seeded_at_the_items():
    rng = np.random.default_rng(0)
    centres = rng.standard_normal((5, 8)).astype(np.float32) * 5
    points = np.repeat(centres, 20, axis=0) + 0.1 * rng.standard_normal((100, 8)).astype(np.float32)
    nodes = seed_nodes(points, 5, rng, np.eye(8, dtype=np.float32))
    assert nodes.dtype == np.float32
    nearest = np.square(centres[:, None] - nodes[None]).sum(2).argmin(1)
    assert sorted(nearest.tolist()) == [0, 1, 2, 3, 4]
    np.testing.assert_allclose(nodes[nearest], centres, atol=0.2)


@pytest.mark.parametrize("count", [1, 2])
def test_fewer_items_than_nodes(count):
    nodes = seed_nodes(np.ones((count, 3), np.float32), 4, np.random.default_rng(0), np.eye(3, dtype=np.float32))
    np.testing.assert_allclose(nodes, np.ones((4, 3)), atol=1e-2)


def test_dead_nodes_go_to_the_items_of_the_fullest():
    nodes = np.array([[0.0, 0.0], [9.0, 9.0], [5.0, 5.0]], np.float32)
    usage = np.array([0.99, 0.001, 0.009], np.float32)
    points, nearest = np.array([[0.1, 0.0], [0.0, 0.1]], np.float32), np.array([0, 0])
    assert revive(nodes, usage, points, nearest, np.random.default_rng(0), siblings=3) == 2
    assert np.abs(nodes[1:]).max() < 0.2
    assert usage[1:].tolist() == pytest.approx([1 / 3, 1 / 3])
    assert nodes[0].tolist() == [0, 0]


def test_nodes_in_use_stay_where_they_are():
    nodes, usage = np.eye(2, dtype=np.float32), np.array([0.5, 0.5], np.float32)
    assert revive(nodes, usage, nodes.copy(), np.arange(2), np.random.default_rng(0), siblings=2) == 0
    assert np.array_equal(nodes, np.eye(2))
