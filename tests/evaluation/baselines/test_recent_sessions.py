"""Recent sessions against a list of sessions."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
import pytest

from hsnn.evaluation.baselines.recent_sessions import RecentSessions
from hsnn.evaluation.queries.hourly_sessions import SESSION_GAP


def listed(sessions: RecentSessions, number: int) -> list[int]:
    """Items of a session in their order."""
    items, places = sessions.items(np.array([number]))[0], sessions.places(np.array([number]))[0]
    return [int(item) for _, item in sorted(zip(places, items, strict=True)) if item >= 0]


@pytest.mark.parametrize("batch", [1, 7, 400])
def test_sessions_are_the_events_of_a_user_without_a_long_gap(batch):
    rng = np.random.default_rng(batch)
    count = 400
    users, items = rng.integers(-1, 12, count), rng.integers(0, 30, count)
    ts = np.cumsum(rng.integers(0, SESSION_GAP // 3, count))
    sessions = RecentSessions(items=100)
    for start in range(0, count, batch):
        part = slice(start, start + batch)
        sessions.add(users[part], items[part], ts[part])
    expected: list[list[int]] = []
    of_item, current, last = defaultdict(list), {}, {}
    for user, item, now in zip(users.tolist(), items.tolist(), ts.tolist(), strict=True):
        if user < 0:
            continue
        if user not in current or now - last[user] > SESSION_GAP:
            current[user] = len(expected)
            expected.append([])
        last[user] = now
        if item not in expected[current[user]]:
            expected[current[user]].append(item)
            of_item[item].append(current[user])
    assert len(expected) > 50
    assert [listed(sessions, number) for number in range(len(expected))] == expected
    assert {item: sessions.of_item(item).tolist() for item in of_item} == {
        item: numbers[::-1] for item, numbers in of_item.items()
    }
    assert {user: sessions.of_user(user) for user in current} == current
    assert sessions.last_times(np.array(list(current.values()))).tolist() == [last[user] for user in current]


def test_memory_is_bounded_and_the_newest_stays():
    sessions = RecentSessions(sessions=4, items=3, per_item=2)
    for user in range(6):
        sessions.add(np.array([user]), np.array([9]), np.array([user]))
    assert sessions.of_item(9).tolist() == [5, 4]
    sessions.add(np.full(5, 7), np.arange(5), np.full(5, 10))  # five items, room for three
    assert listed(sessions, 6) == [2, 3, 4]
    assert sessions.lengths(np.array([6])).tolist() == [5]
    assert sessions.of_item(0).tolist() == [6]
    for user in range(10, 14):
        sessions.add(np.array([user]), np.array([8]), np.array([20]))
    assert sessions.of_item(0).tolist() == []  # its only session made room for another one


def test_a_user_whose_session_is_gone_begins_another():
    sessions = RecentSessions(sessions=2)
    for user in range(3):
        sessions.add(np.array([user]), np.array([user]), np.array([0]))
    sessions.add(np.array([0]), np.array([5]), np.array([1]))
    assert listed(sessions, sessions.of_user(0)) == [5]


def test_unknown_items_and_users_have_no_session():
    sessions = RecentSessions()
    sessions.add(np.array([-1]), np.array([3]), np.array([0]))
    assert sessions.of_item(3).tolist() == sessions.of_item(10**6).tolist() == []
    assert sessions.of_user(-1) == sessions.of_user(10**6) == -1
