"""Lagged states: what was counted since an impression is not seen when it is judged; and a state that comes back."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from hsnn.trainer.features.delayed_counters import DelayedCounters
from hsnn.trainer.features.item_counters import ItemCounters

BATCHES = st.lists(st.lists(st.tuples(st.integers(0, 4), st.integers(1, 50)), min_size=1, max_size=6), max_size=8)


def columns(batch: list[tuple[int, int]]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rows, ts = (np.array(column, np.int64) for column in zip(*batch, strict=True))
    return rows, 1_000_000 * ts, np.ones(len(rows), np.float32)


@given(BATCHES, st.integers(1, 60))
def test_only_what_happened_before_is_counted(batches, before):
    lagged, plain = DelayedCounters(), ItemCounters()
    for batch in batches:
        rows, ts, weights = columns(batch)
        lagged.enqueue(rows, ts, weights)
        due = ts < 1_000_000 * before
        if due.any():
            plain.add_engagements(rows[due], ts[due], weights[due])
    lagged.advance(1_000_000 * before)
    rows = np.arange(5)
    assert lagged.states.values[rows].tobytes() == plain.values[rows].tobytes()
    assert lagged.states.last[rows].tolist() == plain.last[rows].tolist()


@given(BATCHES, st.integers(1, 60), st.integers(1, 60))
def test_a_state_that_was_saved_goes_on_alike(batches, first, second):
    lagged = DelayedCounters()
    for number, batch in enumerate(batches):
        lagged.enqueue(*columns(batch))
        if number == len(batches) // 2:
            lagged.advance(1_000_000 * first)
    again = DelayedCounters()
    again.states.load_columns(lagged.states.columns())
    again.load_state_dict(lagged.pending_arrays()())
    for one in (lagged, again):
        one.advance(1_000_000 * second)
    assert all(np.array_equal(array, everything(again)[name]) for name, array in everything(lagged).items())


def everything(lagged: DelayedCounters) -> dict[str, np.ndarray]:
    own = {name: getattr(lagged.states, name)[:5] for name in ("values", "last", "first")}
    return own | lagged.pending_arrays()()
