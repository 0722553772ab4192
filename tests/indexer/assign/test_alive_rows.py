"""Rows that live for a while, clocks that go on and back: the mask is that of a scan of all rows."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hsnn.indexer.assign import alive_rows
from hsnn.indexer.assign.alive_rows import AliveRows

TIMES = st.integers(0, 12)


class Lives:
    """Times of rows, examined by slices that are noted."""

    def __init__(self, rows: int) -> None:
        self.times = np.zeros((3, rows), np.int64)
        self.examined = []

    def __call__(self, rows):
        part = self.times[:, rows]
        self.examined.append(part.shape[1])
        return part

    def alive(self, clocks, rows):
        reached = self.times[:, :rows] <= np.array(clocks)[:, None]
        return ~reached[0] & ~reached[1] & reached[2]


@given(data=st.data())
def test_the_mask_is_that_of_a_scan_and_all_that_changed_is_told(data):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(alive_rows, "_BLOCK", 4)
        lives, rows = Lives(40), 0
        alive, before = AliveRows(lives), np.zeros(0, bool)
        for _ in range(data.draw(st.integers(1, 8))):
            written = data.draw(st.lists(st.integers(0, min(rows + 9, 39)), max_size=6))
            for row in written:
                lives.times[:, row] = data.draw(st.tuples(TIMES, TIMES, TIMES))
            alive.note_written(written)
            rows = max(rows, *(row + 1 for row in written)) if written else rows
            clocks = data.draw(st.tuples(TIMES, TIMES, TIMES))
            alive.advance(clocks, rows)
            expected = lives.alive(clocks, rows)
            assert alive.mask[:rows].tolist() == expected.tolist()
            turned = np.flatnonzero(expected != np.r_[before, np.zeros(rows - len(before), bool)])
            assert {*turned.tolist(), *written} <= set(alive.drain().tolist())
            before = expected


def test_who_neither_begins_nor_ends_is_not_looked_at():
    lives = Lives(100_000)
    lives.times[:2] = 1_000
    lives.times[:2, 70_000] = 50
    alive = AliveRows(lives)
    alive.advance((10, 10, 10), 100_000)
    assert alive.mask.all()
    assert sum(lives.examined) == 100_000
    lives.examined.clear()
    lives.times[:2, 5] = 60
    alive.note_written([5])
    for now in range(11, 100):
        alive.advance((now, now, now), 100_000)
        assert alive.mask.sum() == 100_000 - (now >= 50) - (now >= 60)
    assert sum(lives.examined) < 10_000, "one row, and the blocks of the two that ended"
    lives.examined.clear()
    alive.advance((55, 55, 55), 100_000)
    assert alive.mask.sum() == 99_999, "clocks may be set back"
    assert sum(lives.examined) < 5_000
