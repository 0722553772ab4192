"""The exclusion rule against a loop over one user's history and memory."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hsnn.trainer.features.exclusion import excluded_items
from hsnn.trainer.features.user_memory import DISLIKED, MemoryEntries
from hsnn.trainer.messages import ExclusionRule

PLACE = st.tuples(st.integers(0, 6), st.integers(0, 20))
USER = st.tuples(
    st.lists(PLACE, max_size=5),  # history
    st.lists(st.tuples(PLACE, st.booleans()), max_size=6, unique_by=lambda entry: entry[0][0]),  # memory
    st.integers(0, 25),  # now
)


def arrays(users: list, length: int = 5, remembered: int = 6) -> tuple:
    history = np.full((len(users), length), -1, np.int32), np.zeros((len(users), length), np.int64)
    memory = np.full((len(users), remembered), -1, np.int32), np.zeros((len(users), remembered), np.int64)
    flags = np.zeros((len(users), remembered), np.uint8)
    for number, (events, entries, _) in enumerate(users):
        for at, (item, time) in enumerate(events[::-1], 1):
            history[0][number, -at], history[1][number, -at] = item, time
        for at, ((item, time), disliked) in enumerate(entries[::-1], 1):
            memory[0][number, -at], memory[1][number, -at] = item, time
            flags[number, -at] = DISLIKED * disliked | 1
    counts = (memory[0] >= 0).astype(np.int32)
    now = np.array([user[2] for user in users], np.int64)
    return *history, MemoryEntries(*memory, counts, flags), now


def left_out(rule: ExclusionRule, events: list, entries: list, now: int) -> list[int]:
    last: dict[int, int] = {}
    for item, time in [entry[0] for entry in entries] + events:
        last.pop(item, None)  # an item is where it was last
        last[item] = time
    newest = [*last][::-1]
    disliked = {item for (item, _), bad in entries if bad}
    chosen = {
        "seen": set(last),
        "nothing": set(),
        "recent": set(newest[: rule.items]) | {item for item, time in last.items() if time >= now - rule.time_ms},
    }[rule.rule]
    return [item for item in last if item in chosen | disliked]


@pytest.mark.slow
@settings(max_examples=300, deadline=None)
@given(
    st.lists(USER, max_size=4),
    st.sampled_from(["recent", "seen", "nothing"]),
    st.integers(0, 5),
    st.integers(0, 12),
)
def test_it_equals_a_loop(users, name, items, time):
    rule = ExclusionRule(name, items=items, time_ms=time)
    out = excluded_items(rule, *arrays(users))
    expected = [left_out(rule, *user) for user in users]
    assert [[item for item in row if item >= 0] for row in out.tolist()] == expected
    width = max(map(len, expected), default=0)
    assert out.shape == (len(users), width)
    assert out.dtype == np.int32
    assert out.tolist() == [[-1] * (width - len(row)) + row for row in expected]


def test_ten_looks_at_one_item_push_nothing_out():
    """An item counts once among the last ones, however often it was looked at."""
    events, entries = [(3, 90 + at) for at in range(5)], [((0, 1), False), ((1, 2), False), ((2, 3), False)]
    rule = ExclusionRule("recent", items=4, time_ms=0)
    assert excluded_items(rule, *arrays([(events, entries, 100)])).tolist() == [[0, 1, 2, 3]]


def test_a_session_is_left_out_whole_however_many_items_it_has():
    events = [(item, 1000 + item) for item in range(10, 15)]
    entries = [((item, 1000 + item), False) for item in range(6)]
    rule = ExclusionRule("recent", items=2, time_ms=100)
    assert len(excluded_items(rule, *arrays([(events, entries, 1015)]))[0]) == 11
    assert excluded_items(rule, *arrays([(events, entries, 1115)])).tolist() == [[13, 14]]
