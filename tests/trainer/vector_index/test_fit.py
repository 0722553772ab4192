"""Levels learned on brought vectors: worlds of blocks, whose right answers are known."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from hsnn.trainer.errors import VectorFileError
from hsnn.trainer.vector_index.fit import FitSettings, IndexFit, principal_maps
from hsnn.trainer.vector_index.index import VectorIndex

BLOCKS, PER_BLOCK, USERS, WIDTH = 16, 25, 640, 16
SETTINGS = FitSettings(nodes=BLOCKS, passes=2, batch=128, uniform=128, beam=2, budget=2 * PER_BLOCK)


class World:
    """Items of a block lie together; users of a block like its items most, and every user has two pairs in it."""

    def __init__(self, centres: np.ndarray) -> None:
        rng = np.random.default_rng(0)
        self.block = rng.integers(BLOCKS, size=USERS)
        self.items = np.float32(
            np.repeat(centres, PER_BLOCK, 0) + 0.03 * rng.standard_normal((BLOCKS * PER_BLOCK, WIDTH))
        )
        self.users = np.float32(4 * centres[self.block] + 0.03 * rng.standard_normal((USERS, WIDTH)))
        chosen = (
            self.block[:, None] * PER_BLOCK + rng.permuted(np.tile(np.arange(PER_BLOCK), (USERS, 1)), axis=1)[:, :2]
        )
        self.pairs = np.stack([np.repeat(np.arange(USERS), 2), chosen.ravel()], 1).astype(np.int64)

    @property
    def own(self) -> tuple[np.ndarray, np.ndarray]:
        return np.arange(0, 2 * USERS + 1, 2), self.pairs[:, 1]

    def best(self, k: int) -> np.ndarray:
        """The exhaustive answer, less each user's own items."""
        scores = self.users @ self.items.T
        scores[self.pairs[:, 0], self.pairs[:, 1]] = -np.inf
        return np.argsort(-scores, 1, kind="stable")[:, :k]


@pytest.fixture(scope="module")
def world() -> World:
    return World(np.eye(BLOCKS, WIDTH))


@pytest.fixture(scope="module")
def index(world: World) -> VectorIndex:
    return IndexFit(world.users, world.items, world.pairs, SETTINGS).train()


def test_every_leaf_is_a_block(index):
    leaves = index.leaves.node_of[: BLOCKS * PER_BLOCK].reshape(BLOCKS, PER_BLOCK)
    assert (leaves == leaves[:, :1]).all()
    assert len(set(leaves[:, 0].tolist())) == BLOCKS


def test_two_leaves_hold_what_the_exhaustive_search_finds(world, index):
    found = index.search(world.users, 20, exclude=world.own)
    np.testing.assert_array_equal(found.items, world.best(20))
    assert (found.scored <= SETTINGS.budget).all()
    assert found.nodes == BLOCKS


def test_own_items_do_not_use_up_the_budget(world, index):
    # The block less the two own items is 23: with room for exactly these, none may be lost to items that are left out.
    found = index.search(world.users, 20, beam=1, budget=PER_BLOCK - 2, exclude=world.own)
    np.testing.assert_array_equal(found.items, world.best(20))
    assert (found.scored == PER_BLOCK - 2).all()


def test_missing_answers_are_marked(world, index):
    found = index.search(world.users[:1], PER_BLOCK + 5, beam=1)
    assert (found.items[0, PER_BLOCK:] == -1).all()
    assert np.isneginf(found.scores[0, PER_BLOCK:]).all()


def test_two_levels_find_blocks_of_groups():
    """Four groups of four blocks: as coarse nodes are groups, the leaves that hold a block are in one family."""
    block = np.arange(BLOCKS)
    world = World(3 * np.eye(8, WIDTH)[block // 4] + np.eye(8, WIDTH)[4 + block % 4])
    settings = replace(SETTINGS, nodes=4, children=(8,), beam=8)
    index = IndexFit(world.users, world.items, world.pairs, settings).train()
    coarse = index.leaves.node_of[: BLOCKS * PER_BLOCK].reshape(4, -1) // 8
    assert sorted(coarse[:, 0].tolist()) == [0, 1, 2, 3]
    assert (coarse == coarse[:, :1]).all()
    found = index.search(world.users, 10, exclude=world.own)
    overlap = np.mean([np.isin(best, got).mean() for best, got in zip(world.best(10), found.items, strict=True)])
    assert overlap > 0.97
    assert found.nodes == 4 + 4 * 8


def test_training_lowers_the_loss(world):
    losses: list[float] = []
    IndexFit(world.users, world.items, world.pairs, replace(SETTINGS, passes=4)).train(
        lambda _done, _total, loss: losses.append(loss)
    )
    assert np.mean(losses[-3:]) < np.mean(losses[:3])


def test_the_same_seed_gives_the_same_index_and_another_seed_another(world):
    first, again, other = (
        IndexFit(world.users, world.items, world.pairs, replace(SETTINGS, passes=1, seed=seed)).train()
        for seed in (0, 0, 1)
    )
    weights = [index.node_users.maps[0].weight.detach().numpy() for index in (first, again, other)]
    np.testing.assert_array_equal(weights[0], weights[1])
    assert not np.array_equal(weights[0], weights[2])


@pytest.mark.parametrize("factor", [1e-3, 1e3])
def test_the_size_of_the_brought_vectors_does_not_matter(world, factor):
    one, other = (
        IndexFit(np.float32(world.users * of), np.float32(world.items / of**2), world.pairs, SETTINGS)
        for of in (1.0, factor)
    )
    np.testing.assert_allclose(one.index.points(), other.index.points(), atol=1e-4)
    users = [fit.index.level_users(np.float32(world.users * of)) for fit, of in ((one, 1.0), (other, factor))]
    np.testing.assert_allclose(users[0], users[1], rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize("test_time", [True, False])
def test_extra_steps_move_the_levels_and_leave_the_items(world, test_time):
    settings = replace(SETTINGS, passes=1, index=SETTINGS.index.model_copy(update={"test_time_interest": 0.0}))
    fit = IndexFit(world.users, world.items, world.pairs, settings)
    before = fit.train().node_users.maps[0].weight.detach().clone()
    steps = fit.steps
    fit.extra_steps(1, test_time=test_time, rate=0.5)
    assert fit.steps == steps + fit.steps_per_pass
    assert not np.array_equal(before.numpy(), fit.index.node_users.maps[0].weight.detach().numpy())
    np.testing.assert_array_equal(fit.index.items, world.items)


def test_test_time_pairs_need_the_interest_rate(world):
    # Every user has two of 25 items of a leaf: with a rate of one half no pair is left, and no step is made.
    settings = replace(SETTINGS, passes=1, index=SETTINGS.index.model_copy(update={"test_time_interest": 0.5}))
    fit = IndexFit(world.users, world.items, world.pairs, settings)
    fit.train()
    steps = fit.steps
    fit.extra_steps(1, test_time=True, rate=0.5)
    assert fit.steps == steps


def test_narrow_levels_keep_the_best_directions_of_the_scores():
    rng = np.random.default_rng(0)
    users, items = (rng.standard_normal((n, 12)).astype(np.float32) for n in (300, 200))
    scores = users.astype(np.float64) @ items.T
    _, values, _ = np.linalg.svd(scores)
    maps = principal_maps(users, items, 5)
    error = np.square((users @ maps.user) @ (items @ maps.item).T - scores).sum()
    assert error == pytest.approx(np.square(values[5:]).sum(), rel=1e-3)  # Eckart-Young: no map of rank 5 does better


def test_an_index_is_read_as_it_was_written(world, index, tmp_path: Path):
    index.save(tmp_path / "index.safetensors", {"pairs": "many"})
    read = VectorIndex.load(tmp_path / "index.safetensors")
    for before, after in zip(
        index.search(world.users, 20, exclude=world.own), read.search(world.users, 20, exclude=world.own), strict=True
    ):
        np.testing.assert_array_equal(before, after)
    with pytest.raises(VectorFileError, match="exists already; name another file"):
        index.save(tmp_path / "index.safetensors")


def test_other_files_are_not_taken_for_an_index(tmp_path: Path):
    (tmp_path / "text.safetensors").write_text("not one")
    with pytest.raises(VectorFileError, match="not a readable safetensors file"):
        VectorIndex.load(tmp_path / "text.safetensors")
    from safetensors.numpy import save_file

    save_file({"a": np.zeros(3)}, tmp_path / "other.safetensors")
    with pytest.raises(VectorFileError, match="is not an index of format"):
        VectorIndex.load(tmp_path / "other.safetensors")
    with pytest.raises(VectorFileError, match="cannot be read"):
        VectorIndex.load(tmp_path / "none.safetensors")
