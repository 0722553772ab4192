from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from hsnn.serving.mirror.row_ids import RowIds

NAMES = st.sampled_from(["", "a", "b", "c", "Ü", "\ud800"])
BATCHES = st.lists(st.lists(st.tuples(st.integers(0, 8), NAMES), max_size=6), max_size=12)


@given(BATCHES)
def test_ids_come_and_go_as_in_a_dict_of_rows(batches):
    ids, texts, rows = RowIds(), [""] * 9, {}
    for batch in batches:
        # of several for one row in a batch the last counts, as if it had come alone
        last = dict(batch)
        ids.assign([row for row, _ in batch], [name for _, name in batch])
        for row in last:
            if rows.get(texts[row]) == row:
                del rows[texts[row]]
        for row, name in last.items():
            texts[row] = name
            if name:
                rows[name] = row
        assert ids.ids[:] == texts[: len(ids)]
        asked = ["a", "b", "c", "Ü", "\ud800", "", "x"]
        assert ids.rows(asked).tolist() == [rows.get(name, -1) for name in asked]
        assert ids.rows(asked * 3).tolist() == [rows.get(name, -1) for name in asked] * 3
