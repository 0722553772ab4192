"""Sparse scores of pairs against a dictionary."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hsnn.trainer.retrieval.pair_scores import PairScores

PART = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 12), st.integers(-8, 8)), max_size=20)


def scores_of(near: list, past: list) -> PairScores:
    parts = near + past
    query, rows = (np.array([part[column] for part in parts], np.int64) for column in (0, 1))
    return PairScores.from_parts(query, rows, np.array([part[2] for part in parts], np.float32), len(near))


@pytest.mark.slow
@given(PART, PART)
@settings(max_examples=60, deadline=None)
def test_equal_pairs_are_summed_and_near_ones_marked(near, past):
    found, sums = scores_of(near, past), defaultdict(float)
    for query, row, score in near + past:
        sums[query, row] += score
    pairs = list(zip(found.query.tolist(), found.rows.tolist(), strict=True))
    assert pairs == sorted(sums)
    assert dict(zip(pairs, found.scores.tolist(), strict=True)) == sums
    assert [pair for pair, is_near in zip(pairs, found.near, strict=True) if is_near] == sorted(
        {(query, row) for query, row, _ in near}
    )
    assert found.scores.dtype == np.float32


@pytest.mark.slow
@given(PART, PART, st.sets(st.integers(0, 14)))
@settings(max_examples=60, deadline=None)
def test_a_request_gets_the_scores_of_its_own_pairs_and_of_given_rows_only(near, past, rows):
    found, sums = scores_of(near, past), defaultdict(float)
    for query, row, score in near + past:
        sums[query, row] += score
    ascending = np.array(sorted(rows), np.int64)
    for number in range(5):
        before = np.arange(len(ascending), dtype=np.float32)
        after = found.by_query(number + 1)[number].added_to(before, ascending)
        assert after.tolist() == [place + sums.get((number, row), 0) for place, row in enumerate(ascending.tolist())]
        assert before.tolist() == list(range(len(ascending))), "the given scores are not changed"


def test_select_keeps_what_belongs_together():
    found = scores_of([(0, 4, 1.0), (1, 2, 2.0)], [(1, 9, 3.0)])
    some = found.select(found.scores > 1)
    assert [part.tolist() for part in some] == [[1, 1], [2, 9], pytest.approx([2, 3]), [True, False]]
