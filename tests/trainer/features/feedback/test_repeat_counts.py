from __future__ import annotations

import numpy as np

from hsnn.trainer.features.feedback.repeat_counts import Engagement, RepeatCounts

DAY = 86_400_000
NOW = 1_700_000_000_000


def counted(counts: RepeatCounts, users, items, ts=NOW, codes=1) -> list[float]:
    columns = np.broadcast_arrays(np.array(users), np.array(items), np.array(codes), np.array(ts))
    return counts.count(Engagement(*(column.astype(np.int64).reshape(-1) for column in columns)))[0].tolist()


def test_users_items_and_actions_are_counted_apart():
    counts = RepeatCounts()
    assert counted(counts, [1, 1, 2, 1, 1], [7, 7, 7, 8, 7], codes=[1, 1, 1, 1, 2]) == [0, 1, 0, 0, 0]
    assert counted(counts, [1, -5, -5, -6], [7, 7, 7, 7]) == [2, 0, 1, 0]


def test_counts_halve_in_a_day():
    counts = RepeatCounts()
    counted(counts, [1, 1], [7, 7])
    assert counted(counts, [1], [7], ts=NOW + DAY) == [1.0]
    assert counted(counts, [1], [7], ts=NOW - DAY) == [2.0]  # a late event does not turn time back


def test_a_script_in_one_batch_is_counted_to_the_last():
    counts = RepeatCounts()
    assert counted(counts, np.ones(500), 7) == list(range(500))
    assert counted(counts, [1], [7]) == [500]


def test_the_same_in_one_batch_or_in_many():
    users, items = np.random.default_rng(0).integers(0, 6, (2, 40))
    whole, parts = RepeatCounts(), RepeatCounts()
    apart = [one for cut in range(0, 40, 7) for one in counted(parts, users[cut : cut + 7], items[cut : cut + 7])]
    assert counted(whole, users, items) == apart


def test_users_and_items_that_go_leave_nothing():
    counts = RepeatCounts()
    counted(counts, [1, 2, 1], [7, 7, 8])
    counts.forget_users(np.array([1]))
    assert counted(counts, [1, 2], [7, 7]) == [0, 1]
    gone = np.zeros(10, bool)
    gone[7] = True
    counts.remove_items(gone)
    assert counted(counts, [2, 1], [7, 8]) == [0, 0]


def test_a_copy_of_the_columns_goes_on():
    counts, other = RepeatCounts(), RepeatCounts()
    counted(counts, [1, 1], [7, 7])
    other.load_columns(counts.columns())
    assert counted(other, [1], [7]) == counted(counts, [1], [7]) == [2]


def test_pairs_that_share_a_place_count_in_full():
    counts = RepeatCounts(places=1)
    assert [counted(counts, [user], [7]) for user in (1, 2, 1)] == [[0], [0], [0]]
