from __future__ import annotations

from collections import defaultdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hsnn.evaluation.baselines import sparse_counts
from hsnn.evaluation.baselines.sparse_counts import SparseCounts

CELLS = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4), st.integers(1, 9)), max_size=12)


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(st.lists(CELLS, max_size=6), st.sampled_from([0, 3, 100]))
def test_it_adds_as_a_dictionary_does(batches, small):
    """Whatever the size of the part for new cells, which is merged now and then."""
    before, sparse_counts._MERGE_AFTER = sparse_counts._MERGE_AFTER, small
    try:
        counts, plain = SparseCounts(2), defaultdict(float)
        for batch in batches:
            rows, columns, values = (
                (np.array(part, np.int64) for part in zip(*batch, strict=True))
                if batch
                else [np.zeros(0, np.int64)] * 3
            )
            counts.add(rows, columns, np.stack([values, 2.0 * values], 1))
            for row, column, value in batch:
                plain[row, column] += value
            counts.scale(np.array([1.0, 0.5]))
            counts.scale(np.array([1.0, 2.0]))
        assert len(counts) == len(plain)
        for row in range(6):
            columns, values = counts.row(row)
            assert dict(zip(columns.tolist(), values[:, 0].tolist(), strict=True)) == {
                column: value for (of, column), value in plain.items() if of == row
            }
            assert (values[:, 1] == 2 * values[:, 0]).all()
    finally:
        sparse_counts._MERGE_AFTER = before


def test_cells_are_scaled():
    counts = SparseCounts(2)
    counts.add(np.array([1]), np.array([2]), np.array([[4.0, 4.0]]))
    counts.scale(np.array([0.5, 0.25]))
    assert counts.row(1)[1].tolist() == [[2.0, 1.0]]
