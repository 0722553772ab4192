"""Recall and NDCG of the static protocol, by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from hsnn.evaluation.static.ranking import ranking_figures
from hsnn.trainer.vector_index.exhaustive import csr_of_pairs


def test_figures_of_two_users_by_hand():
    # User 0 has the test items 1, 2, 3 and gets 9, 1, 3: two of three. User 1 has 5 and gets 5, 6, 7: all.
    found = np.array([[9, 1, 3], [5, 6, 7]])
    figures = ranking_figures(found, csr_of_pairs(np.array([[0, 1], [0, 2], [0, 3], [1, 5]]), users=2))
    assert figures.by_user.tolist() == [pytest.approx(2 / 3), 1.0]
    assert figures.recall == pytest.approx((2 / 3 + 1) / 2)
    ideal = 1 + 1 / math.log2(3) + 1 / math.log2(4)
    assert figures.ndcg == pytest.approx(((1 / math.log2(3) + 1 / math.log2(4)) / ideal + 1) / 2)


def test_the_ideal_ranking_is_as_long_as_the_answer_at_most():
    figures = ranking_figures(np.array([[1, 2]]), csr_of_pairs(np.array([[0, 1], [0, 2], [0, 3]]), users=1))
    assert figures.ndcg == pytest.approx(1.0)  # LightGCN's: both places are hits
    assert figures.recall == pytest.approx(2 / 3)


def test_users_without_test_items_and_empty_places_do_not_count():
    figures = ranking_figures(np.array([[1, -1], [1, 0]]), csr_of_pairs(np.array([[0, 4]]), users=2))
    assert (figures.recall, figures.ndcg, len(figures.by_user)) == (0.0, 0.0, 1)
