"""Candidates of several sources, and the best of them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hsnn.trainer.retrieval.cascade import CandidateSource, MergedCandidates

ROWS = st.lists(st.integers(0, 40), unique=True, max_size=15).map(lambda rows: np.array(rows, np.int64))
FOUND = st.dictionaries(st.sampled_from(list(CandidateSource)), ROWS)


@pytest.mark.slow
@given(FOUND)
@settings(max_examples=60, deadline=None)
def test_a_row_is_there_once_and_of_its_first_source(found):
    merged = MergedCandidates.merged(found)
    first: dict[int, int] = {}
    for source in CandidateSource:
        for row in found.get(source, np.zeros(0, np.int64)).tolist():
            first.setdefault(row, int(source))
    assert dict(zip(merged.rows.tolist(), merged.sources.tolist(), strict=True)) == first
    assert merged.rows.tolist() == sorted(first)
    counts = {source.name.lower(): list(first.values()).count(source) for source in CandidateSource}
    assert merged.counts() == {name: count for name, count in counts.items() if count}


@pytest.mark.slow
@given(FOUND, st.integers(1, 30), st.integers(0, 10**6))
@settings(max_examples=60, deadline=None)
def test_the_best_are_those_of_a_sort_and_keep_their_sources(found, budget, seed):
    merged = MergedCandidates.merged(found)
    scores = np.random.default_rng(seed).integers(0, 4, len(merged.rows)).astype(np.float32)  # many are equal
    best = merged.best(scores, budget)
    ranked = sorted(zip(-scores, merged.rows.tolist(), merged.sources.tolist(), strict=True))[:budget]
    kept = sorted((row, source) for _, row, source in ranked)
    assert list(zip(best.rows.tolist(), best.sources.tolist(), strict=True)) == kept
