from hypothesis import given
from hypothesis import strategies as st

from hsnn.serving.mirror.row_ids import RowIds

IDS = st.lists(st.sampled_from(["", "a", "b", "c", "d", "e"]), max_size=6, unique_by=lambda name: name or object())


@given(known=IDS, names=IDS)
def test_many_ids_at_once_are_as_one_after_the_other(known, names):
    at_once, one_by_one = RowIds(known), RowIds(known)
    at_once.assign_first(names)
    for row, name in enumerate(names):
        one_by_one.assign(row, name)
    assert at_once.ids == one_by_one.ids
    every = ["a", "b", "c", "d", "e", ""]
    assert at_once.rows(every).tolist() == one_by_one.rows(every).tolist()
