"""Item state against the plainest reference: remember every event, decay each on its own."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hsnn.trainer.features.item_counters import HALF_LIVES, HOUR, STATE_FEATURES, ItemCounters

START = 1_700_000_000_000
EVENTS = st.lists(
    st.tuples(st.integers(0, 4), st.integers(0, 10 * 3_600_000), st.sampled_from([0.5, 1.0, 3.0])),
    min_size=1,
    max_size=40,
)


def naive(events: list[tuple[int, int, float]], row: int, now: int) -> np.ndarray:
    own = [(ts, weight) for item, ts, weight in events if item == row]
    return np.array([sum(w * 2 ** (-(now - ts) / half) for ts, w in own) for half in HALF_LIVES])


def columns(events: list[tuple[int, int, float]]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rows, ts, weights = zip(*events, strict=True)
    return np.array(rows), np.array(ts, np.int64), np.array(weights, np.float32)


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(EVENTS, st.lists(st.integers(1, 7), max_size=8), st.integers(0, 3 * 3_600_000))
def test_counts_are_those_of_events_decayed_one_by_one(events, cuts, later):
    events = [(row, START + ts, weight) for row, ts, weight in events]
    states, at = ItemCounters(rows=1), 0
    states.reserve(5)
    for size in [*cuts, len(events)]:  # any batches, any order, times that run back
        if part := events[at : at + size]:
            states.add_engagements(*columns(part))
        at += size
    now = max(ts for _, ts, _ in events) + later
    for row in range(5):
        np.testing.assert_allclose(
            states.counts(np.array([row]), now)[0], naive(events, row, now), rtol=1e-4, atol=1e-6
        )
        own = [ts for item, ts, _ in events if item == row]
        assert (states.first[row], states.last[row]) == ((min(own), max(own)) if own else (0, 0))


def test_reading_changes_nothing():
    states = ItemCounters()
    states.add_engagements(np.array([0]), np.array([START]), np.ones(1, np.float32))
    before = states.values.copy()
    first = states.counts(np.array([0]), START + 1000)
    states.features(np.array([0, 1]), START + 9999)
    assert np.array_equal(states.counts(np.array([0]), START + 1000), first)
    assert np.array_equal(states.values, before)


def test_a_half_life_halves():
    states = ItemCounters()
    states.add_engagements(np.array([3]), np.array([START]), np.full(1, 8.0, np.float32))
    for index, half_life in enumerate(HALF_LIVES):
        assert states.counts(np.array([3]), START + int(2 * half_life))[0, index] == pytest.approx(2.0)


def test_a_reading_before_the_last_event_decays_nothing():
    states = ItemCounters()
    states.add_engagements(np.array([0]), np.array([START]), np.ones(1, np.float32))
    assert states.counts(np.array([0]), START - 5000)[0].tolist() == [1.0] * len(HALF_LIVES)


@pytest.mark.slow
@settings(max_examples=40, deadline=None)
@given(EVENTS, st.integers(0, len(HALF_LIVES) - 1), st.integers(0, 2 * 3_600_000), st.integers(0, 10**9))
def test_order_and_shares_by_log_mass_hold_at_any_reading_time(events, half_life, later, origin):
    events = [(row, START + ts, weight) for row, ts, weight in events]
    states = ItemCounters()
    states.add_engagements(*columns(events))
    rows = np.unique([row for row, _, _ in events])
    mass = states.log_mass(rows, half_life, START - origin)
    share = np.exp(mass - mass.max())
    now = max(ts for _, ts, _ in events) + later
    counts = np.array([naive(events, row, now)[half_life] for row in rows])
    if counts.max() > 0:
        np.testing.assert_allclose(share, counts / counts.max(), rtol=1e-3, atol=1e-7)


def test_an_item_without_events_has_no_mass():
    states = ItemCounters()
    states.mark_first_seen([2], START)
    assert states.log_mass(np.array([2]), 0, START).tolist() == [-np.inf]


def test_seeing_dates_an_item_once():
    states = ItemCounters()
    states.mark_first_seen([1], START)
    states.mark_first_seen([1], START + 50)
    assert (states.first[1], states.last[1]) == (START, START)
    states.add_engagements(np.array([1]), np.array([START + 100]), np.ones(1, np.float32))
    states.mark_first_seen([1], START + 200)
    assert (states.first[1], states.last[1]) == (START, START + 100)


def test_features_tell_age_idleness_and_trend():
    states = ItemCounters()
    states.add_engagements(np.array([0, 1]), np.array([START, START + int(2 * HOUR)]), np.ones(2, np.float32))
    features = states.features(np.arange(2), START + int(2 * HOUR))
    assert features.shape == (2, STATE_FEATURES)
    assert features.dtype == np.float32
    old, new = features
    assert old[-3] == pytest.approx(np.log1p(2.0) / 3)  # age
    assert old[-2] == pytest.approx(np.log1p(2.0) / 3)  # idle
    assert new[-3:-1].tolist() == [0.0, 0.0]
    assert new[-1] == pytest.approx(np.log(1.1))  # popularity, with its prior, at the longest half-life
    assert old[0] < new[0]  # 0.1 h after, a click of two hours ago is next to nothing
    assert (old[len(HALF_LIVES) : -3] < 0).all()  # fading
    assert new[len(HALF_LIVES) : -3].tolist() == [0.0] * (len(HALF_LIVES) - 1)


def test_a_mirror_takes_states_over_as_they_are():
    states, mirror = ItemCounters(), ItemCounters(rows=1)
    states.add_engagements(np.array([0, 7, 7]), START + np.array([0, 5, 3]), np.ones(3, np.float32))
    rows = np.array([7, 0])
    mirror.set_rows(rows, states.values[rows], states.last[rows], states.first[rows])
    np.testing.assert_array_equal(mirror.features(rows, START + 99), states.features(rows, START + 99))
    mirror.set_rows(np.zeros(0, np.int64), states.values[:0], states.last[:0], states.first[:0])  # nothing is fine, too


def test_features_are_to_the_last_bit_those_of_the_plain_formula():
    """However the arrays lie while they are computed: models and answers were made with these bits."""
    rng, states = np.random.default_rng(0), ItemCounters(rows=500)
    states.values[:] = rng.exponential(3, states.values.shape)
    states.last[:] = START - rng.integers(0, 2000 * int(HOUR), 500)
    states.first[:] = states.last - rng.integers(0, 500 * int(HOUR), 500)
    rows = rng.permutation(500)[:333]
    for now in (START, START + rng.integers(-int(HOUR), int(HOUR), 333)):
        elapsed = np.maximum(now - states.last[rows], 0)
        decay = np.exp2(-elapsed[:, None] / np.array(HALF_LIVES)).astype(np.float32)
        counts = states.values[rows] * decay  # (n, H)
        logs = np.log1p(counts)
        age = np.log1p(np.maximum(now - states.first[rows], 0) / HOUR)[:, None]
        idle = np.log1p(elapsed / HOUR)[:, None]
        popularity = np.log(np.expm1(logs[:, -1:]) + 0.1)
        parts = [logs / 3, logs[:, :-1] - logs[:, 1:], age / 3, idle / 3, popularity]
        plain = np.concatenate(parts, axis=1, dtype=np.float32)
        features = states.features(rows, now)
        assert features.tobytes() == plain.tobytes()
        assert states.counts(rows, now).tobytes() == counts.tobytes()
        assert features.flags.c_contiguous, "a matrix product of another layout has other bits"
