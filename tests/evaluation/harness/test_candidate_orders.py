"""Curves at several budgets from one set of scores."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from hsnn.evaluation.harness.candidate_orders import merge_order, whole_nodes_order
from hsnn.evaluation.harness.served_path import served_result
from hsnn.evaluation.metrics.ranks import MISS, ranks_within

pytestmark = pytest.mark.slow


def test_the_merge_curve_at_the_served_budget_is_the_served_path(moment):
    queries, budget = moment.queries, moment.system.mirror.state.index.config.budget
    scores = queries.score([queries.served_view()])[0]
    ranks, scored = ranks_within(merge_order(queries, 1000), scores, queries.targets, (budget,))
    answers = served_result(moment.system.mirror, queries, 200)
    assert (answers.ranks < MISS).sum() > 20
    np.testing.assert_array_equal(ranks[:, 0] < MISS, answers.ranks < MISS)
    found = answers.ranks < MISS
    np.testing.assert_allclose(ranks[found, 0], answers.ranks[found], atol=0.5)  # ties: at half, and in order
    np.testing.assert_array_equal(scored[:, 0], answers.scored)


def test_whole_runs_agree_too(run):
    merged, answered = run.ranks[f"merge@{run.budget}"], run.ranks["served"]
    assert (merged < MISS).tolist() == (answered < MISS).tolist()
    found = answered < MISS
    assert (np.abs(merged[found] - answered[found]) <= 0.5).all()
    assert run.work[f"merge@{run.budget}"].tolist() == run.scored.tolist()


def test_whole_nodes_are_opened_one_after_the_other(moment):
    """Naive implementation: nodes by logit, items of each by age, excluded items left out, cut at the budget."""
    queries, budget = moment.queries, 17
    nodes = queries.state.index.leaves.node_of[queries.rows]
    scores = queries.score([queries.served_view()])[0]
    order = whole_nodes_order(queries, 40)
    ranks, scored = ranks_within(order, scores, queries.targets, (budget, 1000))
    for number, logits in enumerate(queries.encoded.leaf_log_probs):
        walked = [
            place
            for node in np.argsort(-logits, kind="stable")
            for place in np.flatnonzero(nodes == node)
            if place not in queries.excluded[number]
        ][:budget]
        place = queries.targets[number]
        expected = (scores[number][walked] > scores[number][place]).sum() if place in walked else MISS
        assert abs(ranks[number, 0] - expected) <= 0.5 if place in walked else ranks[number, 0] == MISS
        assert scored[number, 0] == len(walked)


def test_a_larger_budget_loses_no_target(run):
    for name in ("merge", "whole_nodes", "popularity_filter:1.0"):
        found = [run.ranks[f"{name}@{budget}"] < MISS for budget in (50, 100, 200, 500, 1000)]
        for smaller, larger in pairwise(found):
            assert not (smaller & ~larger).any()
    assert (run.ranks["popularity_filter:1.0@1000"] == run.ranks["exhaustive"]).all()
    assert (run.ranks["whole_nodes@1000"] == run.ranks["exhaustive"]).all()
