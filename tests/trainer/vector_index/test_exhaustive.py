"""Exhaustive answers, by hand."""

from __future__ import annotations

import numpy as np

from hsnn.trainer.vector_index.exhaustive import csr_of_pairs, exhaustive_top


def test_training_items_are_left_out_of_the_ranking():
    users, items = np.float32([[1, 0], [0, 1]]), np.float32([[5, 1], [4, 2], [3, 3], [2, 4]])
    barred = csr_of_pairs(np.array([[0, 0], [0, 2]]), users=2)
    assert exhaustive_top(users, items, 2, barred).tolist() == [[1, 3], [3, 2]]
