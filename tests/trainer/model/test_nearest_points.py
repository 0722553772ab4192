"""Vectors and points that move: the repeated search finds what a new one finds."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hsnn.trainer.model import nearest_points
from hsnn.trainer.model.nearest_points import KeptAssignment, NearestPoints

MOVES = st.sampled_from([0.0, 1e-4, 0.02, 0.3])
STEPS = st.lists(st.tuples(MOVES, MOVES), max_size=6)


def made(points):
    return NearestPoints(torch.from_numpy(points.astype(np.float32)), torch.ones(len(points)))


def found(nearest, vectors, before=None):
    """Ask in two parts, as chunks of items come."""
    kept, half = KeptAssignment(len(vectors), before), len(vectors) // 2
    parts = (0, vectors[:half]), (half, vectors[half:])
    nodes = [kept.find(nearest, start, torch.from_numpy(part.astype(np.float32))) for start, part in parts]
    return np.concatenate(nodes), kept.forget_before()


@given(seed=st.integers(0, 10_000), steps=STEPS)
def test_what_is_kept_is_what_a_new_search_finds(seed, steps):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(nearest_points, "_BLOCK_DISTANCES", 12 * 7)
        rng = np.random.default_rng(seed)
        points, vectors = rng.normal(0, 1, (12, 4)), rng.normal(0, 1, (rng.integers(0, 60), 4))
        points[5] = points[3]
        kept = None
        for moved, shifted in [(0.0, 0.0), *steps]:
            vectors = vectors + moved * rng.normal(0, 1, vectors.shape) * (rng.random((len(vectors), 1)) < 0.7)
            points = points + shifted * rng.normal(0, 1, points.shape) * (rng.random((12, 1)) < 0.4)
            size = max(len(vectors) + int(rng.integers(-3, 6)), 0)  # items come, and rows are given anew
            vectors = np.concatenate([vectors, rng.normal(0, 1, (9, 4))])[:size]
            nearest = made(points)
            nodes, kept = found(nearest, vectors, kept)
            exact = np.square(vectors[:, None] - points).sum(2)
            assert nodes.tolist() == nearest.find(torch.from_numpy(vectors.astype(np.float32))).tolist()
            assert (exact[np.arange(size), nodes] <= exact.min(1) + 1e-4).all()


def test_only_those_that_may_have_changed_are_compared_with_all_points():
    rng = np.random.default_rng(0)
    points = rng.normal(0, 1, (64, 8))
    vectors = np.repeat(points, 50, 0) + rng.normal(0, 0.1, (3200, 8))
    nodes, kept = found(made(points), vectors)
    assert kept.searched == 3200
    again, kept = found(made(points), vectors, kept)
    assert kept.searched < 16, "of a few the difference is within what rounding may do"
    assert again.tolist() == nodes.tolist()
    vectors[:32] = rng.normal(0, 1, (32, 8))
    _, kept = found(made(points + 1e-4), np.r_[vectors, vectors[:10]], kept)
    assert 42 <= kept.searched < 150, "what moved, what is new, and few more"
    _, kept = found(made(points[:60]), vectors, kept)
    assert kept.searched == 3200, "other points"
