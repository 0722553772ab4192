from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hsnn.trainer.rowstore.hash_table import RowHashTable

HASHES = st.lists(st.integers(-(2**63), 2**63 - 1) | st.integers(0, 3) | st.just(2047), max_size=60)


@given(HASHES, HASHES, st.data())
def test_every_row_is_found_under_its_hash_and_no_other(hashes, asked, data):
    slots, rows = RowHashTable(), np.arange(len(hashes))
    cut = data.draw(st.integers(0, len(hashes)))
    for part in (slice(0, cut), slice(cut, None)):
        slots.insert(rows[part], np.array(hashes[part], np.int64))
    gone = data.draw(st.sets(st.sampled_from(range(len(hashes))))) if hashes else set()
    slots.remove(np.array(sorted(gone), np.int64))
    assert len(slots) == len(hashes) - len(gone)
    found = slots.find(np.array(asked + hashes, np.int64))
    for key, row in zip(asked + hashes, found.tolist(), strict=True):
        expected = {at for at, other in enumerate(hashes) if other == key} - gone
        assert row in expected if expected else row == -1
        assert set(slots.find_all(key)) == expected


@pytest.mark.parametrize("rounds", [200])
def test_removals_leave_room_for_others(rounds):
    slots, rng = RowHashTable(), np.random.default_rng(0)
    rows, held = np.arange(500), rng.integers(2**62, size=500)
    slots.insert(rows, held)
    for _ in range(rounds):
        slots.remove(rows)
        held = rng.integers(2**62, size=500)
        slots.insert(rows, held)
        assert slots.find(held).tolist() == rows.tolist()
    assert slots.nbytes < 20_000
