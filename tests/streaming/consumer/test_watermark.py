"""Event times: where they start, in which order they merge, which are accepted."""

from __future__ import annotations

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
    Rejections,
    Watermark,
    order_keys,
    start_time,
)

T0 = 1_700_000_000_000
FUTURE = 1_000
FAR = T0 + 10**9
ANY = 1 << 62


def array(*values: int) -> NDArray[np.int64]:
    return np.array(values, np.int64)


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
    order = order_keys(array(T0 + 5, T0 + 3, NO_TIME, T0 + 9), T0, T0, FUTURE, complete=True)
    assert order.keys.tolist() == [T0 + 5, T0 + 5, T0 + 5, T0 + 9]
    assert not order.outlier.any()


def test_a_jump_that_nobody_follows_is_an_outlier_at_once() -> None:
    order = order_keys(array(T0, FAR, T0 + 1, T0 + 2), NO_TIME, T0, FUTURE, complete=True)
    assert order.keys.tolist() == [T0, T0, T0 + 1, T0 + 2]
    assert order.outlier.tolist() == [False, True, False, False]


def test_a_jump_at_the_end_keeps_its_place() -> None:
    order = order_keys(array(T0, FAR), NO_TIME, T0, FUTURE, complete=True)
    assert order.keys.tolist() == [T0, FAR]
    assert not order.outlier.any()
    assert not order.confirmed.any()


def test_a_jump_waits_for_the_events_after_it() -> None:
    ts = array(T0, FAR, *[FAR] * (WINDOW - 1))
    assert len(order_keys(ts, NO_TIME, T0, FUTURE, complete=False).keys) == 1
    longer = np.append(ts, FAR)
    order = order_keys(longer, NO_TIME, T0, FUTURE, complete=False)
    assert len(order.keys) == len(longer)
    assert order.confirmed.nonzero()[0].tolist() == [1]


@given(
    st.lists(st.integers(0, 60).map(lambda i: T0 + i * 100) | st.just(NO_TIME) | st.just(FAR), max_size=60), st.data()
)
def test_keys_do_not_depend_on_how_rows_arrive(times: list[int], data: st.DataObject) -> None:
    """All at once, or piece by piece with the last piece known to be the end: the same order."""
    ts = np.array(times, np.int64)
    whole = order_keys(ts, NO_TIME, T0, FUTURE, complete=True)
    keys: list[int] = []
    outlier: list[bool] = []
    waiting = 0
    cuts = sorted(data.draw(st.lists(st.integers(0, len(ts)), max_size=3)))
    for cut in [*cuts, len(ts)]:
        last = cut == len(ts)
        part = order_keys(ts[waiting:cut], keys[-1] if keys else NO_TIME, T0, FUTURE, complete=last)
        keys += part.keys.tolist()
        outlier += part.outlier.tolist()
        waiting = len(keys)
    assert keys == whole.keys.tolist()
    assert outlier == whole.outlier.tolist()
    assert keys == sorted(keys)


def test_checking_stops_at_the_first_that_is_too_far_ahead() -> None:
    mark = Watermark(T0, T0)
    ts = array(T0 + 900, T0 + 1_900, T0 + 2_901, T0 + 5)
    result = mark.check(ts, ts, np.full(4, ANY), EventTimeLimits(FUTURE, 10_000))
    assert result.stop == 2
    assert result.after[:2].tolist() == [T0 + 900, T0 + 1_900]


def test_too_old_moves_nothing() -> None:
    ts = array(T0 - 9, T0 - 10_001, EARLIEST - 1, NO_TIME)
    result = Watermark(T0, T0).check(ts, ts, np.full(4, ANY), EventTimeLimits(FUTURE, 10_000))
    assert result.too_old.tolist() == [False, True, True, False]
    assert result.after.tolist() == [T0] * 4


def test_without_any_time_yet_the_producers_clock_is_the_limit() -> None:
    ts = array(FAR)
    assert Watermark().check(ts, ts, array(T0), EventTimeLimits(FUTURE, 10_000)).stop == 0
    assert Watermark().check(ts, ts, array(FAR), EventTimeLimits(FUTURE, 10_000)).stop == 1


def test_rejections_count_only_while_they_agree() -> None:
    rejections = Rejections()
    for i in range(QUORUM):
        rejections = rejections.add(FAR + i, FUTURE)
    assert rejections.count == QUORUM
    assert rejections.add(FAR + FUTURE, FUTURE).count == QUORUM + 1
    assert rejections.add(FAR + FUTURE + 1, FUTURE) == Rejections(1, FAR + FUTURE + 1, FAR + FUTURE + 1)
