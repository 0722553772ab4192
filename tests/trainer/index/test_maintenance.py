"""Start, refit, snapping and representatives, on items whose right nodes are known."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hsnn.trainer.config.model import ModelConfig
from hsnn.trainer.index import maintenance
from hsnn.trainer.index.hierarchy import Hierarchy

every_depth = pytest.mark.parametrize("levels", [1, 2, 3])


def planted_items(counts: tuple[int, ...], per_leaf: int = 8, seed: int = 0) -> tuple[torch.Tensor, np.ndarray]:
    """Items (n, 6) on a tree whose levels are ten times finer each, and the leaf of each."""
    rng = np.random.default_rng(seed)
    centres = np.zeros((1, 6))
    for level, count in enumerate(counts):
        siblings = count // len(centres)
        spread = 100.0 / 10**level * np.stack([np.eye(6)[k % 6] * (1 if k < 6 else -1) for k in range(siblings)])
        centres = (centres[:, None] + spread).reshape(count, 6)
    leaves = rng.permutation(np.repeat(np.arange(counts[-1]), per_leaf))
    points = centres[leaves] + 0.01 * rng.normal(size=(len(leaves), 6))
    return torch.from_numpy(points.astype(np.float32)), leaves


def hierarchy_of(counts: tuple[int, ...]) -> Hierarchy:
    torch.manual_seed(0)
    children = tuple(fine // coarse for coarse, fine in pairwise(counts))
    hierarchy = Hierarchy(ModelConfig(dim=5, nodes=counts[0], children=children))
    hierarchy.metric.copy_(torch.eye(6))
    return hierarchy


def moved(hierarchy: Hierarchy, seed: int = 0) -> Hierarchy:
    """The same with codes of everyday size."""
    torch.manual_seed(seed)
    with torch.no_grad():
        for codes in hierarchy.codes:
            codes.copy_(torch.randn(codes.shape) * 3)
    return hierarchy


@pytest.mark.parametrize("counts", [(12,), (4, 12), (3, 6, 12)])
def test_a_well_separated_tree_is_found_at_the_start(counts):
    points, leaves = planted_items(counts)
    for seed in range(5):
        hierarchy = hierarchy_of(counts)
        maintenance.seed(hierarchy, points, np.random.default_rng(seed))
        for level, path in enumerate(hierarchy.assign_paths(points)):
            pairs = set(zip(path.nodes.tolist(), (leaves // (counts[-1] // counts[level])).tolist(), strict=True))
            assert len(pairs) == counts[level]  # one node for one branch, and the other way round
        torch.testing.assert_close(
            hierarchy.node_vectors(len(counts) - 1)[hierarchy.assign_paths(points)[-1].nodes], points, atol=0.3, rtol=0
        )


def test_the_start_depends_on_the_generator_only():
    points, _ = planted_items((4, 12))
    made = [hierarchy_of((4, 12)) for _ in range(3)]
    for hierarchy, seed in zip(made, (1, 1, 2), strict=True):
        maintenance.seed(hierarchy, points, np.random.default_rng(seed))
    assert all(torch.equal(a, b) for a, b in zip(made[0].codes, made[1].codes, strict=True))
    assert not torch.equal(made[0].codes[0], made[2].codes[0])


@pytest.mark.parametrize("counts", [(12,), (4, 12), (3, 6, 12)])
def test_few_items_start_too(counts):
    hierarchy = hierarchy_of(counts)
    maintenance.seed(hierarchy, torch.randn(2, 6), np.random.default_rng(0))
    assert all(torch.isfinite(codes).all() for codes in hierarchy.codes)


@every_depth
@pytest.mark.parametrize("measured", [False, True])
def test_refit_is_plain_k_means_from_where_nodes_are(levels, measured):
    """In any metric: nearest after the map, means before it."""
    counts = {1: (5,), 2: (3, 9), 3: (2, 4, 12)}[levels]
    metric = np.random.default_rng(5).normal(size=(6, 6)) if measured else np.eye(6)
    points = np.random.default_rng(1).normal(scale=3, size=(80, 6)).astype(np.float32)
    hierarchy = moved(hierarchy_of(counts))
    hierarchy.metric.copy_(torch.from_numpy(metric))
    before = [codes.detach().numpy().astype(np.float64).copy() for codes in hierarchy.codes]
    maintenance.refit(hierarchy, torch.from_numpy(points), even=False)
    residual, parents = points.astype(np.float64), np.zeros(len(points), np.int64)
    for level, expected in enumerate(before):
        siblings = counts[level] // (counts[level - 1] if level else 1)
        for family in np.unique(parents):
            own, codes = residual[parents == family], expected[family * siblings : (family + 1) * siblings]
            for _ in range(3):
                nearest = [int(np.square((codes - point) @ metric).sum(1).argmin()) for point in own]
                for k in range(siblings):
                    held = own[np.array(nearest) == k]
                    codes[k] = held.mean(0) if len(held) else codes[k]
        np.testing.assert_allclose(hierarchy.codes[level].detach().numpy(), expected, atol=1e-4)
        family = parents[:, None] * siblings + np.arange(siblings)
        parents = family[np.arange(80), np.square((residual[:, None] - expected[family]) @ metric).sum(2).argmin(1)]
        residual = residual - expected[parents]


def test_refitting_settled_nodes_changes_nothing():
    points, _ = planted_items((4, 12))
    hierarchy = hierarchy_of((4, 12))
    maintenance.seed(hierarchy, points, np.random.default_rng(0))
    maintenance.refit(hierarchy, points, even=False)
    before = [codes.detach().clone() for codes in hierarchy.codes]
    maintenance.refit(hierarchy, points, even=False)
    for codes, kept in zip(hierarchy.codes, before, strict=True):
        torch.testing.assert_close(codes.detach(), kept, atol=1e-4, rtol=0)


@pytest.mark.slow
@every_depth
@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_after_a_snap_every_node_with_items_is_one(levels, seed):
    """To the bit: the residual of an item of the family, as the coarser levels leave it."""
    counts = {1: (5,), 2: (3, 9), 3: (2, 4, 12)}[levels]
    points = torch.from_numpy(np.random.default_rng(seed).normal(scale=3, size=(60, 6)).astype(np.float32))
    hierarchy = moved(hierarchy_of(counts), seed)
    maintenance.snap(hierarchy, points)
    with torch.no_grad():
        for level, path in enumerate(hierarchy.assign_paths(points)):
            siblings = hierarchy.family_size(level)
            for node in path.nodes.unique().tolist():
                family = path.residual[path.nodes // siblings == node // siblings]
                assert (family == hierarchy.codes[level][node]).all(1).any()


@pytest.mark.parametrize("seed", range(5))
def test_a_snap_goes_to_the_nearest_own_item(seed):
    points = torch.from_numpy(np.random.default_rng(seed).normal(scale=3, size=(60, 6)).astype(np.float32))
    hierarchy = moved(hierarchy_of((5,)), seed)
    before = hierarchy.codes[0].detach().clone()
    nodes = hierarchy.assign_paths(points)[0].nodes
    maintenance.snap(hierarchy, points)
    for node in nodes.unique().tolist():
        own = points[nodes == node]
        assert torch.equal(hierarchy.codes[0][node], own[(own - before[node]).square().sum(1).argmin()])


def test_a_node_that_comes_to_hold_items_by_a_snap_is_snapped_too():
    """Node 1 is empty; node 0 goes to its nearest item, the other item is nearer to node 1 then."""
    hierarchy = hierarchy_of((2,))
    hierarchy.codes[0].data[:] = 0.0
    hierarchy.codes[0].data[:, 0] = torch.tensor([0.0, 5.0])
    points = torch.zeros(2, 6)
    points[:, 0] = torch.tensor([-2.0, 2.4])
    assert hierarchy.assign_paths(points)[0].nodes.tolist() == [0, 0]
    maintenance.snap(hierarchy, points)
    assert hierarchy.codes[0][:, 0].tolist() == pytest.approx([-2.0, 2.4])


@every_depth
def test_representatives_are_the_static_vectors_of_the_nearest_items(levels):
    counts = {1: (5,), 2: (3, 9), 3: (2, 4, 12)}[levels]
    rng = np.random.default_rng(4)
    points = torch.from_numpy(rng.normal(scale=3, size=(40, 6)).astype(np.float32))
    vectors = torch.from_numpy(rng.normal(size=(40, 5)).astype(np.float32))
    hierarchy = moved(hierarchy_of(counts))
    maintenance.update_representatives(hierarchy, points, vectors)
    with torch.no_grad():
        for level, path in enumerate(hierarchy.assign_paths(points)):
            for node in range(counts[level]):
                own = torch.nonzero(path.nodes == node).flatten()
                if len(own) == 0:
                    assert not hierarchy.representative(level)[node].any()
                    continue
                apart = (path.residual[own] - hierarchy.codes[level][node]).norm(dim=1)
                assert torch.equal(hierarchy.representative(level)[node], vectors[own[apart.argmin()]])


def test_representatives_are_features_of_nodes(toy):
    """Once there are some, the level learns what to make of them; before, it says what it said without."""
    small = toy(2)
    bare = small.levels.node_features(1)
    torch.testing.assert_close(bare, small.levels.hierarchy.node_vectors(1)[:, :-1])
    small.levels.hierarchy.representative(1)[3] = torch.tensor([1.0, 2.0, 3.0])
    added = small.levels.node_features(1) - bare
    assert added[3].abs().sum() > 0
    assert not added[[0, 1, 2, 4, 11]].any()
    torch.testing.assert_close(added[3], small.levels.represent[1].weight @ torch.tensor([1.0, 2.0, 3.0]))
