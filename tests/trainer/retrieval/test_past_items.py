"""The compiled exclusion rule leaves out what the plain one does."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hsnn.trainer.features.exclusion import excluded_items
from hsnn.trainer.features.user_history import UserHistories
from hsnn.trainer.features.user_memory import UserMemory
from hsnn.trainer.messages import ExclusionRule
from hsnn.trainer.retrieval.past_items import PastItemsRule, past_items

# In a fresh clone the kernel is compiled first.
pytestmark = [pytest.mark.slow, pytest.mark.long("compiled kernels"), pytest.mark.timeout(600)]

SECOND = 1000

RULES = st.builds(
    ExclusionRule,
    rule=st.sampled_from(["recent", "seen", "nothing"]),
    items=st.integers(0, 4),
    time_ms=st.integers(0, 20).map(lambda seconds: seconds * SECOND),
    keep_ms=st.none() | st.integers(1, 30).map(lambda seconds: seconds * SECOND),
)


@given(
    rule=RULES,
    events=st.lists(st.tuples(st.integers(0, 9), st.integers(0, 3), st.booleans()), max_size=30),
    history=st.none() | st.lists(st.integers(0, 9), max_size=6),
)
@settings(deadline=None)
def test_same_items_as_the_plain_rule(rule, events, history):
    memory, histories, now = UserMemory(limit=8), UserHistories(5), 100 * SECOND
    for item, after, disliked in events:
        now += after * SECOND
        event = np.zeros(1, np.int64), np.array([item]), np.array([now])
        histories.extend(*event)
        memory.extend(*event, actions=np.ones(1, np.uint8), disliked=np.array([disliked]))
    items, times = histories.items[0], histories.times[0]
    if history is not None:  # that of a request
        items, times = np.full(6, -1, np.int32), np.zeros(6, np.int64)
        items[6 - len(history) :], times[6 - len(history) :] = history, now - SECOND
    memory.keep_ms = rule.keep_ms
    user, asked = np.zeros(1, np.int64), np.array([now])
    plain = excluded_items(rule, items[None], times[None], memory=memory.gather(user, asked), now=asked)[0]
    compiled = past_items(PastItemsRule.at(rule, now), items, times, memory.entries_of(0))
    assert compiled.tolist() == sorted(plain[plain >= 0].tolist())
