"""Histories against lists of Python."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hsnn.trainer.features.user_history import UserHistories

BATCHES = st.lists(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 9)), max_size=12), max_size=5)


@pytest.mark.slow
@settings(max_examples=80, deadline=None)
@given(BATCHES, st.integers(1, 4))
def test_events_of_a_batch_see_those_before_them(batches, length):
    histories = UserHistories(length, rows=4)
    naive: dict[int, list[tuple[int, int]]] = {user: [(-1, 0)] * length for user in range(4)}
    clock = 0
    for batch in batches:
        users, items = (np.array([event[i] for event in batch], np.int64) for i in (0, 1))
        times = clock + 1 + np.arange(len(batch), dtype=np.int64)
        clock += len(batch)
        before_items, before_times = histories.extend(users, items, times)
        for at, (user, item) in enumerate(batch):
            assert list(zip(before_items[at].tolist(), before_times[at].tolist(), strict=True)) == naive[user]
            naive[user] = [*naive[user][1:], (item, int(times[at]))]
    for user, expected in naive.items():
        assert list(zip(histories.items[user].tolist(), histories.times[user].tolist(), strict=True)) == expected


def test_what_is_returned_is_a_copy():
    histories = UserHistories(2)
    before, _ = histories.extend(np.array([0]), np.array([5]), np.array([1]))
    histories.extend(np.array([0]), np.array([6]), np.array([2]))
    assert before.tolist() == [[-1, -1]]


def test_growing_keeps_what_is_known():
    histories = UserHistories(2, rows=1)
    histories.extend(np.array([0]), np.array([5]), np.array([1]))
    histories.reserve(100)
    assert histories.items[0].tolist() == [-1, 5]
    assert (histories.items[1:] == -1).all()


def test_clearing_and_putting():
    histories = UserHistories(2, rows=1)
    histories.set_rows(np.array([2, 0]), np.array([[1, 2], [3, 4]], np.int32), np.array([[5, 6], [7, 8]]))
    assert histories.items[[0, 2]].tolist() == [[3, 4], [1, 2]]
    histories.clear(np.array([2]))
    assert histories.items[2].tolist() == [-1, -1]
    assert histories.times[2].tolist() == [0, 0]
    assert histories.items[0].tolist() == [3, 4]
