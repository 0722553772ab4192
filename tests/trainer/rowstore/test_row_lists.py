from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from hsnn.trainer.rowstore.row_lists import RowLists

ROWS = st.integers(0, 30)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("write"), st.lists(ROWS, unique=True, max_size=6), st.integers(0, 40)),
        st.tuples(st.sampled_from(["extend", "remove", "pop"]), ROWS, st.integers(0, 9)),
    ),
    max_size=80,
)


@given(STEPS)
def test_lists_are_those_of_a_dict(steps):
    lists, wanted, number = RowLists(np.int64), {}, 0
    for step, at, count in steps:
        if step == "write":
            fresh = [list(range(number + row, number + row + count)) for row in range(len(at))]
            lists.write(at, fresh)
            wanted |= dict(zip(at, fresh, strict=True))
        elif step == "extend":
            more = list(range(number, number + count))
            lists.extend(at, more)
            wanted[at] = wanted.get(at, []) + more
        elif step == "remove":
            gone = wanted.get(at, [])[::2][:count]
            lists.remove(at, gone)
            wanted[at] = [one for one in wanted.get(at, []) if one not in gone]
        else:
            held = wanted.get(at, [])
            cut = max(len(held) - count, 0)
            assert lists.pop(at, count).tolist() == held[cut:]
            wanted[at] = held[:cut]
        number += 100
        assert {row: lists[row].tolist() for row in wanted} == wanted
