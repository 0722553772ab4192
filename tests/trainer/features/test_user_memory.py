"""The memory of past items against a dictionary per user, and as a table of a learner: saved, recycled, mirrored."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hsnn.trainer.features.user_memory import DISLIKED, MemoryEntries, UserMemory, action_slots
from hsnn.trainer.rowstore.byte_strings import ByteStrings

USERS, ITEMS, SECOND = 4, 9, 1000
EVENT = st.tuples(
    st.integers(-1, USERS - 1), st.integers(0, ITEMS - 1), st.integers(0, 5), st.integers(0, 6), st.booleans()
)
BATCHES = st.lists(st.lists(EVENT, max_size=14), max_size=6)


class Naive:
    """A dictionary per user, its oldest item first; the limit is applied after every batch."""

    def __init__(self, limit: int, keep: int | None) -> None:
        self.limit, self.keep = limit, keep
        self.of: list[dict[int, tuple[int, int, int]]] = [{} for _ in range(USERS)]

    def extend(self, events: list[tuple[int, int, int, int, bool]]) -> None:
        for user, item, ts, action, disliked in events:
            if user >= 0:
                time, count, flags = self.of[user].pop(item, (0, 0, 0))
                flags = flags & ~DISLIKED | action | DISLIKED * disliked
                self.of[user][item] = (max(time, ts), min(count + 1, 65_535), flags)
        for user in {event[0] for event in events if event[0] >= 0}:
            entries = self.of[user]
            if self.keep is not None:
                newest = max(entry[0] for entry in entries.values())
                entries = {item: entry for item, entry in entries.items() if entry[0] >= newest - self.keep}
            self.of[user] = dict([*entries.items()][-self.limit :])


def extend(memory: UserMemory, events: list[tuple[int, int, int, int, bool]]) -> None:
    users, items, ts, actions = (np.array([event[i] for event in events], np.int64) for i in range(4))
    disliked = np.array([event[4] for event in events], np.bool_)
    memory.extend(users, items, ts, actions=actions.astype(np.uint8), disliked=disliked)


def known(entries: MemoryEntries, place: int) -> dict[int, tuple[int, int, int]]:
    """The entries of one user; those of the padding must be blank, and in front."""
    items, *others = (array[place].tolist() for array in entries)
    count = sum(item >= 0 for item in items)
    blank = len(items) - count
    assert items[:blank] == [-1] * blank
    assert not any(any(column[:blank]) for column in others)
    columns = [column[blank:] for column in others]
    return {item: entry for item, *entry in zip(items[blank:], *columns, strict=True)}


def as_tuples(of: dict[int, Any]) -> list[tuple[int, ...]]:
    return [(item, *entry) for item, entry in of.items()]


@pytest.mark.slow
@settings(max_examples=150, deadline=None)
@given(BATCHES, st.integers(1, 12), st.one_of(st.none(), st.integers(0, 8)))
def test_it_equals_a_dictionary_per_user(batches, limit, keep):
    memory = UserMemory(limit, None if keep is None else keep * SECOND, rows=USERS)
    naive, clock = Naive(limit, None if keep is None else keep * SECOND), 100
    for batch in batches:
        events = [
            (user, item, (clock + 3 * at - late) * SECOND, 1 << slot, disliked)
            for at, (user, item, late, slot, disliked) in enumerate(batch)
        ]
        clock += 3 * len(batch)
        extend(memory, events)
        naive.extend(events)
        entries = memory.gather(np.array([*range(USERS), -1]))
        for user in range(USERS):
            assert as_tuples(known(entries, user)) == as_tuples(naive.of[user])
        assert not known(entries, USERS)
        assert entries.items.shape[1] == max(map(len, naive.of))


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(BATCHES, st.sets(st.integers(0, ITEMS - 1)), st.sets(st.integers(0, USERS - 1)))
def test_removed_items_and_cleared_users_leave_nothing_and_their_room_is_used_again(batches, gone, cleared):
    memory, naive = UserMemory(limit=6, rows=USERS), Naive(6, None)
    for number, batch in enumerate(batches):
        events = [(user, item, number * SECOND, 1 << slot, bad) for user, item, _, slot, bad in batch]
        extend(memory, events)
        naive.extend(events)
        mask = np.zeros(ITEMS + 1, np.bool_)
        mask[sorted(gone)] = True
        expected = [user for user in range(USERS) if gone & naive.of[user].keys()]
        assert memory.remove_items(mask).tolist() == expected
        memory.clear(np.array(sorted(cleared), np.int64))
        for user in range(USERS):
            kept = {item: entry for item, entry in naive.of[user].items() if item not in gone}
            naive.of[user] = {} if user in cleared else kept
        entries = memory.gather(np.arange(USERS))
        assert [as_tuples(known(entries, user)) for user in range(USERS)] == [as_tuples(of) for of in naive.of]
    assert memory.entries_reserved <= USERS * (4 + 6)


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(BATCHES)
def test_what_is_saved_depends_on_what_is_known_not_on_how_it_came_to_lie(batches):
    memory = UserMemory(limit=5, rows=USERS)
    for number, batch in enumerate(batches):
        extend(memory, [(user, item, number * SECOND, 1 << slot, bad) for user, item, _, slot, bad in batch])
    saved = memory.select(np.arange(USERS))
    again = UserMemory(limit=5, rows=1)
    again.set_rows(np.arange(USERS)[::-1], memory.select(np.arange(USERS)[::-1]))
    assert np.array_equal(again.select(np.arange(USERS)).bytes, saved.bytes)
    assert np.array_equal(again.select(np.arange(USERS)).lengths, saved.lengths)
    assert saved.bytes.shape == (saved.lengths.sum(), 11)


def test_a_smaller_limit_keeps_the_newest_of_what_was_saved():
    memory, smaller = UserMemory(limit=5), UserMemory(limit=2)
    extend(memory, [(0, item, item * SECOND, 1, False) for item in range(5)] + [(1, 7, 0, 1, False)])
    smaller.set_rows(np.array([0, 1]), memory.select(np.array([0, 1])))
    assert smaller.gather(np.array([0, 1])).items.tolist() == [[3, 4], [-1, 7]]


def test_what_was_not_come_back_to_is_forgotten_by_the_time_of_the_question():
    memory = UserMemory(limit=5, keep_ms=10 * SECOND)
    extend(memory, [(0, 1, 100 * SECOND, 1, False), (0, 2, 105 * SECOND, 1, True)])
    users = np.zeros(3, np.int64)
    entries = memory.gather(users, np.array([110, 112, 120]) * SECOND)
    assert entries.items.tolist() == [[1, 2], [-1, 2], [-1, -1]]
    assert entries.flags.tolist() == [[1, 1 | DISLIKED], [0, 1 | DISLIKED], [0, 0]]
    assert entries.times[2].tolist() == entries.counts[2].tolist() == [0, 0]


def test_the_newest_feedback_decides_whether_an_item_is_disliked():
    memory = UserMemory(limit=5)
    extend(memory, [(0, 1, 0, 1, True), (0, 2, 0, 2, True), (0, 2, 0, 4, False)])
    assert memory.gather(np.array([0])).flags.tolist() == [[1 | DISLIKED, 2 | 4]]
    extend(memory, [(0, 1, 0, 8, False), (0, 2, 0, 1, True)])
    assert memory.gather(np.array([0])).flags.tolist() == [[1 | 8, 1 | 2 | 4 | DISLIKED]]


@pytest.mark.parametrize("first", [1, 40_000])
def test_counts_stop_at_their_largest_value(first):
    memory = UserMemory(limit=5)
    for count in (first, 65_535):
        extend(memory, [(0, 1, 0, 1, False)] * count)
    assert memory.gather(np.array([0])).counts.tolist() == [[65_535]]


def test_times_before_1970_and_after_2106_are_cut():
    memory = UserMemory(limit=5)
    extend(memory, [(0, 1, -5_000, 1, False), (0, 2, (2**32 + 7) * SECOND, 1, False)])
    assert memory.gather(np.array([0])).times.tolist() == [[0, (2**32 - 1) * SECOND]]


def test_no_events_and_no_users_are_no_trouble():
    memory = UserMemory(limit=3, rows=0)
    extend(memory, [])
    extend(memory, [(-1, 1, 0, 1, False)])
    assert memory.gather(np.zeros(0, np.int64)).items.shape == (0, 0)
    assert memory.gather(np.array([-1])).items.shape == (1, 0)
    assert memory.remove_items(np.zeros(1, np.bool_)).tolist() == []
    assert memory.select(np.zeros(0, np.int64)).bytes.shape == (0, 11)
    memory.set_rows(np.zeros(0, np.int64), ByteStrings(np.zeros((0, 11), np.uint8), np.zeros(0, np.int32)))


def test_selected_entries_are_those_of_the_users_in_order():
    memory = UserMemory(limit=3)
    extend(memory, [(0, 1, 0, 1, False), (1, 2, 0, 1, False)])
    entries = memory.gather(np.array([0, 1, 0])).select(slice(1, 3))
    assert entries.items.tolist() == [[2], [1]]
    assert MemoryEntries.empty(2).select(np.array([1])).items.shape == (1, 0)


def test_usual_actions_have_slots_of_their_own_and_synonyms_share_one():
    usual = action_slots(["click", "view", "cart", "purchase", "play", "like", "dislike"]).tolist()
    assert sorted(usual) == [1 << slot for slot in range(7)]
    assert action_slots(["purchase", "buy"]).tolist() == [16, 16]
