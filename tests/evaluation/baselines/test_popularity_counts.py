from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hsnn.evaluation.baselines.popularity_counts import PopularityCounts
from hsnn.evaluation.methods import POPULARITY_HALF_LIVES

HOUR = 3_600_000
START = 1_700_000_000_000
BATCHES = st.lists(
    st.lists(st.tuples(st.integers(0, 5), st.integers(0, 3 * HOUR)), min_size=1, max_size=6), min_size=1, max_size=6
)


def naive(events: list[tuple[int, int]], now: int) -> np.ndarray:
    counts = np.zeros((len(POPULARITY_HALF_LIVES), 6))
    for row, ts in events:
        counts[:, row] += [2 ** (-(now - ts) / (hours * HOUR)) for hours in POPULARITY_HALF_LIVES]
    return counts


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(BATCHES, st.sampled_from([0, 1, 30, 400]))
def test_counts_are_those_of_events_decayed_one_by_one_up_to_a_unit(batches, gap):
    """Whatever the pause between batches: counts are rebased on the way, so that none overflows."""
    popularity, events, clock = PopularityCounts(), [], START
    popularity.reserve(6)
    for batch in batches:
        batch = [(row, clock + ts) for row, ts in batch]
        popularity.add(np.array([row for row, _ in batch]), np.array([ts for _, ts in batch]))
        events += batch
        clock += gap * HOUR
    found, expected = popularity.values[:, :6], naive(events, max(ts for _, ts in events))
    assert np.isfinite(popularity.values).all()
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(ours / ours.max(), theirs / theirs.max(), rtol=1e-6, atol=1e-9)


def test_the_last_half_life_does_not_decay():
    popularity = PopularityCounts()
    popularity.add(np.array([0, 0]), np.array([START, START]))
    popularity.add(np.array([1]), np.array([START + 10_000 * HOUR]))
    assert popularity.values[-1, :2].tolist() == [2, 1]
    assert popularity.values[-2, 1] > popularity.values[-2, 0]


def test_reserve_makes_room():
    popularity = PopularityCounts()
    popularity.reserve(3000)
    popularity.add(np.array([2999]), np.array([START]))
    assert popularity.values.shape[1] >= 3000
    assert popularity.values[:, 2999].tolist() == [1.0] * len(POPULARITY_HALF_LIVES)
