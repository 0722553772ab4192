"""Which pairs of a batch are no negatives."""

from __future__ import annotations

import numpy as np

from hsnn.trainer.training.sampling import excluded_pairs


def test_the_excluded_pairs_are_those_of_a_plain_loop():
    rng = np.random.default_rng(3)
    candidates = np.sort(rng.choice(60, 25, replace=False))
    targets = rng.integers(25, size=12)
    excluded = rng.integers(-1, 60, (9, 7))  # the last three queries are learned again: nothing is left out for them
    excluded[:, 0] = candidates[targets[:9]]  # one's own target is always learned
    pairs = excluded_pairs(excluded, candidates, targets)
    expected = {
        (query, index)
        for query in range(9)
        for index, row in enumerate(candidates)
        if row in excluded[query] and index != targets[query]
    }
    assert set(zip(pairs.query.tolist(), pairs.candidate.tolist(), strict=True)) == expected
    assert np.all(np.diff(pairs.query) >= 0), "ordered by query"


def test_pairs_of_a_range_of_queries_are_numbered_from_its_start():
    pairs = excluded_pairs(np.array([[4], [7], [4], [9]]), np.array([4, 7, 9]), np.array([1, 0, 1, 0]))
    part = pairs.select(slice(1, 3))
    assert (part.query.tolist(), part.candidate.tolist()) == ([0, 1], [1, 0])


def test_a_query_without_excluded_items_has_no_pairs():
    pairs = excluded_pairs(np.zeros((0, 3), np.int32), np.array([1, 2]), np.array([0]))
    assert len(pairs.query) == len(pairs.candidate) == 0
    assert pairs.query.dtype == pairs.candidate.dtype == np.int64
