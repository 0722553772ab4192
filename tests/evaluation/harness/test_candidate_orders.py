"""Curves at several budgets from one set of scores."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from hsnn.evaluation.harness.candidate_orders import whole_nodes_order
from hsnn.evaluation.metrics.ranks import MISS, ranks_within

pytestmark = pytest.mark.slow


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
    for name in ("merge", "whole_nodes"):
        found = [run.ranks[f"{name}@{budget}"] < MISS for budget in (50, 100, 200, 500, 1000)]
        for smaller, larger in pairwise(found):
            assert not (smaller & ~larger).any()
    assert (run.ranks["whole_nodes@1000"] == run.ranks["exhaustive"]).all()
