from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from hsnn.trainer.rowstore.id_table import IdTable

NAMES = st.lists(st.text(max_size=3), max_size=12)


@given(st.lists(NAMES, max_size=6))
def test_rows_are_dense_in_order_of_appearance_and_for_ever(batches):
    table, seen = IdTable(), []
    for batch in batches:
        seen += [name for name in dict.fromkeys(batch) if name not in seen]
        assert table.add(batch).tolist() == [seen.index(name) for name in batch]
        assert table.ids == seen
        assert len(table) == table.id_count == len(seen)
    assert table.find(seen).tolist() == list(range(len(seen)))


@given(NAMES, NAMES)
def test_looking_up_adds_nothing(known, asked):
    table = IdTable(dict.fromkeys(known))
    ids = list(table.ids)
    found = table.find(asked).tolist()
    assert found == [ids.index(name) if name in ids else -1 for name in asked]
    assert table.ids == ids
    assert [name in table for name in asked] == [row >= 0 for row in found]


@pytest.mark.slow
@given(NAMES, st.data())
def test_a_restored_table_goes_on_like_the_one_it_came_from(names, data):
    table = IdTable(names)
    gone = np.array(
        sorted(data.draw(st.sets(st.sampled_from(range(len(table)))) if len(table) else st.just(set()))), int
    )
    table.remove(gone)
    again = IdTable()
    again.load_state_dict(table.state_dict(), vacant=gone)
    more = ["new one", *names, "newer one"]
    assert again.add(more).tolist() == table.add(more).tolist()
    assert again.ids == table.ids
    assert all(np.array_equal(array, again.state_dict()[name]) for name, array in table.state_dict().items())


def alike(names):
    """All hashes are one of two."""
    return np.array([len(name) % 2 for name in names], np.int64)


class AgainstADict(RuleBasedStateMachine):
    """Any order of calls gives what a dict gives, though nearly all hashes are equal."""

    names = st.lists(st.text("abÜ\ud800", max_size=3), max_size=8)

    def __init__(self):
        super().__init__()
        self.table, self.rows, self.size = IdTable(hashed=alike), {}, 0

    @rule(names=names)
    def add(self, names):
        for name in names:
            if name not in self.rows:
                self.rows[name] = self.size
                self.size += 1
        assert self.table.add(names).tolist() == [self.rows[name] for name in names]

    @rule(names=names)
    def find(self, names):
        assert self.table.find(names).tolist() == [self.rows.get(name, -1) for name in names]

    @rule(data=st.data())
    def remove(self, data):
        names = data.draw(st.sets(st.sampled_from(sorted(self.rows)))) if self.rows else set()
        self.table.remove(np.array([self.rows.pop(name) for name in sorted(names)], np.int64))

    @rule(names=names)
    def reuse(self, names):
        free = sorted({*range(self.size)} - {*self.rows.values()})
        new = [name for name in dict.fromkeys(names) if name not in self.rows][: len(free)]
        self.table.assign(np.array(free[: len(new)], np.int64), new)
        self.rows |= dict(zip(new, free, strict=False))

    @invariant()
    def same(self):
        assert (self.table.id_count, len(self.table)) == (len(self.rows), self.size)
        assert all(self.table.ids[row] == name for name, row in self.rows.items())


TestAgainstADict = AgainstADict.TestCase
TestAgainstADict.settings = settings(max_examples=60, stateful_step_count=20, deadline=None)
TestAgainstADict.pytestmark = [pytest.mark.slow]


@pytest.mark.slow
def test_equal_hashes_are_told_apart_by_the_ids():
    names = [f"n{number}" for number in range(300)]
    table = IdTable(hashed=lambda asked: np.zeros(len(asked), np.int64))
    table.add(names[:200])
    assert table.add(names).tolist() == list(range(300))
    table.remove(np.arange(0, 300, 2))
    assert table.find(names).tolist() == [row if row % 2 else -1 for row in range(300)]


def test_ids_of_any_length_and_script():
    names = ["", "x" * 256, "Ü" * 256, "日本", "a\0", "a\0\0", "a", "\U0001f600" * 200]
    table = IdTable(names)
    assert table.find(names[::-1]).tolist() == list(range(len(names)))[::-1]
    assert table.ids == names


@pytest.mark.slow
def test_millions_of_ids_in_few_bytes_each():
    count, size = 2_000_000, 65_536
    table = IdTable()
    for start in range(0, count, size):
        rows = np.arange(start, min(start + size, count))
        assert np.array_equal(table.add([f"user-{row * 7919}" for row in rows.tolist()]), rows)
    asked = np.random.default_rng(0).integers(2 * count, size=size)
    found = table.find([f"user-{row * 7919}" for row in asked.tolist()])
    assert np.array_equal(found, np.where(asked < count, asked, -1))
    assert table.nbytes / count < 70
