from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from trainer.id_table import IdTable

NAMES = st.lists(st.text(max_size=3), max_size=12)


@given(st.lists(NAMES, max_size=6))
def test_rows_are_dense_in_order_of_appearance_and_for_ever(batches):
    table, seen = IdTable(), []
    for batch in batches:
        seen += [name for name in dict.fromkeys(batch) if name not in seen]
        assert table.add(batch).tolist() == [seen.index(name) for name in batch]
        assert table.ids == seen
        assert len(table) == len(seen)
    assert table.find(seen).tolist() == list(range(len(seen)))


@given(NAMES, NAMES)
def test_looking_up_adds_nothing(known, asked):
    table = IdTable(dict.fromkeys(known))
    ids = list(table.ids)
    found = table.find(asked).tolist()
    assert found == [ids.index(name) if name in ids else -1 for name in asked]
    assert table.ids == ids
    assert [name in table for name in asked] == [row >= 0 for row in found]


@given(NAMES)
def test_a_table_made_from_ids_goes_on_like_the_one_it_came_from(names):
    table = IdTable()
    table.add(names)
    again = IdTable(table.ids)
    more = ["new one", *names, "newer one"]
    assert again.add(more).tolist() == table.add(more).tolist()
    assert again.ids == table.ids
