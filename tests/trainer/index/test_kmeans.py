from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hsnn.trainer.index.kmeans import revive_nodes, seed_nodes, split_overfull


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
    assert revive_nodes(nodes, usage, points, nearest, np.random.default_rng(0), siblings=3) == 2
    assert np.abs(nodes[1:]).max() < 0.2
    assert usage[1:].tolist() == pytest.approx([1 / 3, 1 / 3])
    assert nodes[0].tolist() == [0, 0]


def test_nodes_in_use_stay_where_they_are():
    nodes, usage = np.eye(2, dtype=np.float32), np.array([0.5, 0.5], np.float32)
    assert revive_nodes(nodes, usage, nodes.copy(), np.arange(2), np.random.default_rng(0), siblings=2) == 0
    assert np.array_equal(nodes, np.eye(2))


@given(st.integers(1, 60), st.integers(2, 40), st.integers(0, 1000), st.floats(1.5, 6.0))
def test_evening_leaves_whole_numbers_and_smaller_nodes(items, nodes, seed, most):
    """Whatever there is of items and nodes, fewer items than nodes included: no NaN, and the fullest does not grow."""
    rng = np.random.default_rng(seed)
    points = rng.standard_normal((items, 3)).astype(np.float32)
    centres = rng.standard_normal((nodes, 3)).astype(np.float32)
    metric = np.eye(3, dtype=np.float32)
    after = split_overfull(points, centres, most, metric)
    assert after.shape == centres.shape
    assert np.isfinite(after).all()
    sizes = [np.bincount(nearest(points, where), minlength=nodes).max() for where in (centres, after)]
    if sizes[0] <= most * items / nodes:
        assert np.array_equal(after, centres)


def test_an_overfull_node_is_split_in_halves():
    points = np.r_[np.linspace(0, 1, 40), [9.0]].astype(np.float32)[:, None]
    centres = np.r_[[[0.5], [9.0]], np.full((14, 1), 50.0)].astype(np.float32)
    after = split_overfull(points, centres, 5.0, np.eye(1, dtype=np.float32))
    sizes = np.bincount(nearest(points, after), minlength=16)
    assert sizes.max() <= 20
    assert sizes.sum() == 41


def nearest(points: np.ndarray, centres: np.ndarray) -> np.ndarray:
    return np.square(points[:, None] - centres[None]).sum(2).argmin(1)


def test_a_node_far_below_its_own_family_is_dead_however_full_the_family_is():
    nodes = np.array([[0.0], [9.0], [50.0], [51.0]], np.float32)
    usage = np.array([0.94, 0.02, 0.02, 0.02], np.float32)  # 0.02 is above 5% of a quarter, but not of 0.48
    points, held = np.array([[0.1], [0.2], [50.0]], np.float32), np.array([0, 0, 2])
    assert revive_nodes(nodes, usage, points, held, np.random.default_rng(0), siblings=2) == 1
    assert abs(nodes[1, 0]) < 1
    assert nodes[2:].ravel().tolist() == [50.0, 51.0]
