"""Event times: where they start, in which order they merge, which are accepted."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from hsnn.streaming.consumer.watermark import (
    EARLIEST,
    NO_TIME,
    QUORUM,
    WINDOW,
    EventTimeLimits,
    Watermark,
    order_keys,
    start_time,
)

T0 = 1_700_000_000_000
TOLERANCE = 1_000
FAR = T0 + 10**9
LIMITS = EventTimeLimits(TOLERANCE, 10_000_000)


def array(*values: int) -> NDArray[np.int64]:
    return np.array(values, np.int64)


def keys(ts: NDArray[np.int64], *, key: int = NO_TIME, complete: bool = True) -> list[int]:
    return order_keys(ts, key=key, base=key, start=T0, tolerance=TOLERANCE, complete=complete).keys.tolist()


def names(*users: str) -> NDArray[np.object_]:
    return np.array(users, object)


def follow(mark: Watermark, ts: NDArray[np.int64], users: NDArray[np.object_]) -> list[int]:
    return mark.advance(ts, np.zeros(len(ts), np.int64), users, LIMITS).after.tolist()


@pytest.mark.parametrize(
    ("first", "start"),
    [
        ([], NO_TIME),
        ([5], NO_TIME),
        ([T0], T0),
        ([FAR, T0], T0),
        ([T0, FAR, T0 + 1], T0 + 1),
        ([5, 6, 7, T0], T0),
    ],
)
def test_stream_time_starts_in_the_middle(first: list[int], start: int) -> None:
    assert start_time(np.array(first, np.int64)) == start


def test_keys_are_the_running_maximum() -> None:
    assert keys(array(T0 + 5, T0 + 3, NO_TIME, T0 + 9), key=T0) == [T0 + 5, T0 + 5, T0 + 5, T0 + 9]


def test_a_jump_that_nobody_follows_is_ignored_at_once() -> None:
    assert keys(array(T0, FAR, T0 + 1, T0 + 2)) == [T0, T0, T0 + 1, T0 + 2]


def test_a_jump_at_the_end_keeps_its_place_and_binds_nobody() -> None:
    order = order_keys(array(T0, FAR), key=T0, base=T0, start=T0, tolerance=TOLERANCE, complete=True)
    assert order.keys.tolist() == [T0, FAR]
    assert order.bases.tolist() == [T0, T0]
    later = order_keys(array(T0 + 1, T0 + 2), key=FAR, base=T0, start=T0, tolerance=TOLERANCE, complete=True)
    assert later.keys.tolist() == [T0 + 1, T0 + 2]


def test_a_jump_that_a_quorum_follows_holds() -> None:
    ts = array(T0, *[FAR] * (QUORUM + 1))
    order = order_keys(ts, key=T0, base=T0, start=T0, tolerance=TOLERANCE, complete=True)
    assert order.bases.tolist() == order.keys.tolist() == ts.tolist()
    assert keys(array(T0 + 1, FAR), key=FAR) == [FAR, FAR]


def test_a_jump_waits_for_the_events_after_it() -> None:
    ts = array(T0, FAR, *[FAR] * (WINDOW - 1))
    assert len(keys(ts, complete=False)) == 1
    assert keys(np.append(ts, FAR), complete=False) == [T0, *[FAR] * (WINDOW + 1)]


@given(
    st.lists(st.integers(0, 60).map(lambda i: T0 + i * 100) | st.just(NO_TIME) | st.just(FAR), max_size=60), st.data()
)
def test_keys_do_not_depend_on_how_rows_arrive(times: list[int], data: st.DataObject) -> None:
    """All at once, or piece by piece with the last piece known to be the end: the same order."""
    ts = np.array(times, np.int64)
    whole = order_keys(ts, key=NO_TIME, base=NO_TIME, start=T0, tolerance=TOLERANCE, complete=True)
    found: list[int] = []
    base = NO_TIME
    cuts = sorted(data.draw(st.lists(st.integers(0, len(ts)), max_size=3)))
    for cut in [*cuts, len(ts)]:
        part = order_keys(
            ts[len(found) : cut],
            key=found[-1] if found else NO_TIME,
            base=base,
            start=T0,
            tolerance=TOLERANCE,
            complete=cut == len(ts),
        )
        found += part.keys.tolist()
        base = int(part.bases[-1]) if len(part.bases) else base
    assert found == whole.keys.tolist()
    assert found == sorted(found)


def test_too_old_moves_nothing() -> None:
    ts = array(T0 - 9, T0 - 10_000_001, EARLIEST - 1, NO_TIME)
    reading = Watermark(T0, T0).advance(ts, ts, names(*"abcd"), LIMITS)
    assert reading.too_old.tolist() == [False, True, True, False]
    assert reading.after.tolist() == [T0] * 4


def test_nothing_moves_beyond_the_moment_at_which_it_was_sent() -> None:
    mark = Watermark(T0, T0)
    assert mark.advance(array(T0 + 900), array(T0 + 300), names("u"), LIMITS).after.tolist() == [T0 + 300]


def test_one_user_far_ahead_moves_nothing_however_often() -> None:
    mark = Watermark(T0, T0)
    follow(mark, T0 + np.arange(10), names(*"abcdefghij"))
    assert set(follow(mark, FAR + np.arange(1500), names(*["a"] * 1500))) == {T0 + 9}
    assert follow(mark, array(T0 + 20), names("b")) == [T0 + 20]


def test_most_of_the_users_move_it_and_a_lone_user_needs_three_events() -> None:
    mark = Watermark(T0, T0)
    follow(mark, T0 + np.arange(5), names(*"abcde"))
    assert follow(mark, FAR + np.arange(3), names(*"abc")) == [T0 + 4, T0 + 4, FAR + 2]
    lone = Watermark(T0, T0)
    ts = array(T0 + 1, FAR, T0 + 2, FAR, FAR + 1, FAR + 2)
    assert follow(lone, ts, names(*["u"] * 6)) == [T0 + 1, T0 + 1, T0 + 2, T0 + 2, T0 + 2, FAR + 2]


def test_a_share_of_wrong_clocks_moves_nothing() -> None:
    """A quarter of the users, those of one producer, are a day ahead from the beginning to the end."""
    rng = np.random.default_rng(0)
    users = rng.integers(0, 400, 20_000)
    ts = T0 + np.arange(20_000) * 100
    wrong = users % 4 == 0
    mark = Watermark(NO_TIME, T0)
    after = np.array(follow(mark, np.where(wrong, ts + 86_400_000, ts), users.astype(str).astype(object)))
    assert (np.abs(after - ts)[10:] <= 2_000).all()


@given(st.data())
def test_it_does_not_depend_on_how_rows_are_cut(data: st.DataObject) -> None:
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    n = 600
    ts = T0 + np.cumsum(rng.choice([10, 10, 10, 5_000], n)) + (rng.random(n) < 0.1) * rng.integers(-9_000, 10**8, n)
    ts[rng.random(n) < 0.05] = NO_TIME
    sent = np.where(rng.random(n) < 0.2, ts - 500, 0)
    users = rng.integers(0, data.draw(st.sampled_from([1, 3, 200])), n).astype(str).astype(object)
    whole, parts = Watermark(), Watermark()
    expected = whole.advance(ts, sent, users, LIMITS)
    cuts = [0, *sorted(data.draw(st.lists(st.integers(0, n), max_size=5))), n]
    for start, stop in pairwise(cuts):
        got = parts.advance(ts[start:stop], sent[start:stop], users[start:stop], LIMITS)
        assert got.after.tolist() == expected.after[start:stop].tolist()
        assert got.too_old.tolist() == expected.too_old[start:stop].tolist()
        parts = Watermark.from_state_dict(parts.state_dict())
    assert parts == whole
    assert list(parts.votes) == list(whole.votes)
