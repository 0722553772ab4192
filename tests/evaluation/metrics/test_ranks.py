from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hsnn.evaluation.metrics.ranks import (
    MISS,
    mrr,
    ndcg,
    paired_recall_difference,
    rank,
    ranks_of,
    ranks_within,
    recall,
    top_k,
)

SCORES = st.lists(st.sampled_from([-1.0, 0.0, 0.5, 2.0]), min_size=1, max_size=12)
WITH_BARRED = st.lists(st.sampled_from([-np.inf, -1.0, 0.0, 0.5, 2.0]), min_size=1, max_size=12)


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


@given(WITH_BARRED, st.data())
def test_ranks_of_many_are_those_of_each(scores, data):
    place = data.draw(st.integers(-1, len(scores) - 1))
    both = np.stack([scores, scores[::-1]])
    found = ranks_of(both, np.array([place, place]))
    for row, one in zip(both, found, strict=True):
        assert one == (MISS if place < 0 else rank(row, place))


@given(WITH_BARRED, st.data())
def test_ranks_within_a_budget_are_ranks_among_the_first_items_that_may_be_scored(scores, data):
    """Against a naive implementation: walk the order, score what may be scored until the budget is used up, rank."""
    order = data.draw(st.permutations(range(len(scores))))
    order = order[: data.draw(st.integers(1, len(scores)))] + [-1] * data.draw(st.integers(0, 2))
    place = data.draw(st.integers(-1, len(scores) - 1))
    budgets = data.draw(st.lists(st.integers(1, 14), min_size=1, max_size=3))
    ranks, scored = ranks_within(np.array([order]), np.array([scores]), np.array([place]), budgets)
    for column, budget in enumerate(budgets):
        walked = [at for at in order if at >= 0 and np.isfinite(scores[at])][:budget]
        expected = rank(np.array([scores[at] for at in walked]), walked.index(place)) if place in walked else MISS
        assert ranks[0, column] == expected
        assert scored[0, column] == len(walked)


def test_one_order_may_serve_all_queries():
    scores = np.array([[3.0, 2.0, 1.0], [1.0, -np.inf, 3.0]])
    ranks, scored = ranks_within(np.array([1, 0, 2]), scores, np.array([0, 2]), (1, 2))
    assert ranks.tolist() == [[MISS, 0.0], [MISS, 0.0]]
    assert scored.tolist() == [[1, 2], [1, 2]]


@given(WITH_BARRED, st.integers(1, 5))
def test_the_top_are_the_largest(scores, count):
    places = top_k(np.array([scores]), count)[0]
    places = places[places >= 0]
    finite = sorted((score for score in scores if np.isfinite(score)), reverse=True)
    assert sorted((scores[place] for place in places), reverse=True) == finite[:count]
    assert len(set(places.tolist())) == len(places)


def test_figures_of_ranks_by_hand():
    ranks = np.array([0.0, 1.0, 6.0, 20.0, MISS])
    assert ndcg(ranks, 20) == pytest.approx((1 + 1 / np.log2(3) + 1 / 3) / 5)
    assert mrr(ranks) == pytest.approx((1 + 1 / 2 + 1 / 7 + 1 / 21) / 5)
    assert np.isnan(ndcg(ranks[:0], 20))
    assert np.isnan(mrr(ranks[:0]))


def test_paired_differences():
    ours, theirs = np.array([0.0, 5.0, MISS, 30.0]), np.array([25.0, 5.0, 3.0, MISS])
    difference, error = paired_recall_difference(ours, theirs, 20)
    each = np.array([1.0, 0.0, -1.0, 0.0])
    assert difference == each.mean()
    assert error == pytest.approx(each.std(ddof=1) / 2)
    assert paired_recall_difference(ours, ours, 20) == (0.0, 0.0)
    assert np.isnan(paired_recall_difference(ours[:1], theirs[:1], 20)).all()


def test_pairing_sees_what_two_unpaired_errors_would_hide():
    rng = np.random.default_rng(0)
    hard = rng.random(2000) < 0.5
    theirs = np.where(hard, MISS, 1.0)
    ours = np.where(hard & (rng.random(2000) < 0.05), 1.0, theirs)
    difference, error = paired_recall_difference(ours, theirs, 20)
    assert 0.015 < difference < 0.035
    assert difference > 5 * error
