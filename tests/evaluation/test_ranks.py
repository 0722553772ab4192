from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluation.ranks import MISS, paired, rank, recall

SCORES = st.lists(st.sampled_from([-1.0, 0.0, 0.5, 2.0]), min_size=1, max_size=12)


@given(SCORES, st.data())
def test_a_rank_is_the_mean_place_over_all_orders_of_the_ties(scores, data):
    target = data.draw(st.integers(0, len(scores) - 1))
    first = sum(score > scores[target] for score in scores)
    last = sum(score >= scores[target] for score in scores) - 1
    assert rank(np.array(scores), target) == (first + last) / 2


def test_what_is_not_scored_is_not_found():
    scores = np.array([-np.inf, 1.0, -np.inf])
    assert rank(scores, 0) == MISS
    assert rank(scores, 1) == 0.0
    assert recall(np.array([MISS, 0.0, 19.5, 20.0]), 20) == 0.5
    assert np.isnan(recall(np.zeros(0), 20))


def test_paired_differences():
    ours, theirs = np.array([0.0, 5.0, MISS, 30.0]), np.array([25.0, 5.0, 3.0, MISS])
    difference, error = paired(ours, theirs, 20)
    each = np.array([1.0, 0.0, -1.0, 0.0])
    assert difference == each.mean()
    assert error == pytest.approx(each.std(ddof=1) / 2)
    assert paired(ours, ours, 20) == (0.0, 0.0)
    assert np.isnan(paired(ours[:1], theirs[:1], 20)).all()


def test_pairing_sees_what_two_unpaired_errors_would_hide():
    rng = np.random.default_rng(0)
    hard = rng.random(2000) < 0.5
    theirs = np.where(hard, MISS, 1.0)
    ours = np.where(hard & (rng.random(2000) < 0.05), 1.0, theirs)
    difference, error = paired(ours, theirs, 20)
    assert 0.015 < difference < 0.035
    assert difference > 5 * error
