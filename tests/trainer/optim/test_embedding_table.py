from __future__ import annotations

import numpy as np
import pytest
import torch

from hsnn.trainer.optim.embedding_table import EmbeddingTable

PRIOR = 3.0


def step(table: EmbeddingTable, rows: list[int], rate: float = 0.2) -> np.ndarray:
    """One step down the sum of the rows' entries; the gradient is 1 everywhere."""
    leaf = table.gather(np.array(rows))
    leaf.sum().backward()
    table.apply_gradients(np.array(rows), leaf, rate)
    return table.weight


def test_only_touched_rows_change():
    table = EmbeddingTable(5, 3, scale=1.0)
    before = table.weight.copy()
    step(table, [1, 3])
    assert (table.weight[[1, 3]] != before[[1, 3]]).all()
    assert np.array_equal(table.weight[[0, 2, 4]], before[[0, 2, 4]])
    assert table.accumulator.tolist() == [0, 1 + PRIOR, 0, 1 + PRIOR, 0]


def test_a_row_slows_down_as_its_own_gradients_add_up():
    table = EmbeddingTable(2, 4)
    for _ in range(4):
        step(table, [0])
    step(table, [1])
    first = 0.2 / np.sqrt(1 + PRIOR)
    assert table.weight[1].tolist() == pytest.approx([-first] * 4)
    expected = -0.2 * sum(1 / np.sqrt(n + PRIOR) for n in (1, 2, 3, 4))
    assert table.weight[0].tolist() == pytest.approx([expected] * 4)


def test_a_first_step_is_as_long_as_its_gradient_says():
    """Adagrad alone takes steps of equal length; credited with what is usual, a small gradient makes a small one."""
    table = EmbeddingTable(2, 2)
    rows = np.array([0, 1])
    leaf = table.gather(rows)
    (leaf * torch.tensor([[0.1], [1.0]])).sum().backward()
    table.apply_gradients(rows, leaf, 0.2)
    small, large = -table.weight[:, 0]
    assert small < large / 7
    assert large < 0.2


def test_a_bias_takes_smaller_steps_than_its_row():
    table = EmbeddingTable(1, 3, bias=0.1)
    step(table, [0])
    vector, bias = table.weight[0, 0], table.weight[0, 2]
    assert table.weight[0, 1] == vector
    assert bias == pytest.approx(0.1 * vector)


def test_a_leaf_that_was_not_used_changes_nothing():
    table = EmbeddingTable(2, 2, scale=1.0)
    before = table.weight.copy()
    table.apply_gradients(np.array([0]), table.gather(np.array([0])), 0.2)
    assert np.array_equal(table.weight, before)


def test_new_rows_are_zero_and_old_ones_stay():
    table = EmbeddingTable(2, 2, scale=1.0, seed=3)
    before = table.weight.copy()
    table.reserve(10)
    assert np.array_equal(table.weight[:2], before)
    assert not table.weight[2:].any()
    assert np.array_equal(EmbeddingTable(2, 2, scale=1.0, seed=3).weight, before)
    assert not np.array_equal(EmbeddingTable(2, 2, scale=1.0, seed=4).weight, before)
