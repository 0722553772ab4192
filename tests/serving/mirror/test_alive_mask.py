"""The alive mask against a scan of all rows, whatever changes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hsnn.serving.mirror import alive_mask
from hsnn.serving.mirror.alive_mask import AliveMask
from hsnn.serving.mirror.mirror import Mirror
from hsnn.serving.schema import Filters, Request
from hsnn.serving.search.retrieval import retrieve
from hsnn.trainer.features.expiry import NEVER

ROWS = 12
CHANGES = st.lists(
    st.tuples(
        st.dictionaries(
            st.integers(0, 2 * ROWS - 1),
            st.tuples(st.sampled_from([-1, 0, 3]), st.sampled_from([0, 5, 9, 14, NEVER])),
            max_size=4,
        ),
        st.integers(0, 3),
        st.sets(st.integers(-2, 3 * ROWS), max_size=4),
    ),
    max_size=12,
)


@pytest.mark.slow
@settings(max_examples=150, deadline=None)
@given(CHANGES)
def test_any_changes_at_any_time_equal_a_scan_of_all_rows(changes):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(alive_mask, "_BLOCK", 4)
        nodes, expiry, watermark = np.zeros(ROWS, np.int32), np.full(ROWS, NEVER), 0
        kept = AliveMask(nodes, expiry, watermark)
        for changed, later, forbidden in changes:
            if max(changed, default=0) >= len(nodes):
                nodes = np.r_[nodes, np.full(ROWS, -1, np.int32)]
                expiry = np.r_[expiry, np.full(ROWS, NEVER)]
            for row, (node, death) in changed.items():
                nodes[row], expiry[row] = node, death
            watermark += later
            kept.update(np.array(list(changed), np.int64), nodes, expiry, watermark)
            kept.advance(watermark, expiry)
            alive = (nodes >= 0) & (expiry > watermark)
            assert kept.mask.tolist() == alive.tolist()
            assert kept.count == np.count_nonzero(alive)
            mask, count = kept.without(np.array(sorted(forbidden), np.int64))
            assert mask.tolist() == [bool(one) and row not in forbidden for row, one in enumerate(alive)]
            assert count == np.count_nonzero(mask)
            assert kept.mask.tolist() == alive.tolist(), "what one request may not get, the next one may"


def test_no_request_copies_all_rows_or_looks_at_them(mirror):
    """The cost of a query must not follow the number of rows that there ever were: each replaced item leaves one."""
    retrieve(mirror, [Request(user="u0")])
    mask = mirror.state.alive_mask.without(np.zeros(0, np.int64))[0]
    before = mirror.state.alive_mask
    for request in (Request(user="u1"), Request(user="u2", filters=Filters(exclude=["c0-1"]))):
        retrieve(mirror, [request])
        assert mirror.state.alive_mask.without(np.zeros(0, np.int64))[0] is mask
    assert mirror.state.alive_mask is before


def test_a_delta_or_a_state_does_not_scan_all_rows(plant, mirror: Mirror):
    before, corpus = mirror.state.alive_mask, mirror.state.corpus
    mirror.apply_delta(plant.delete(7))
    mirror.apply_delta(plant.add("new", 3))
    plant.engage("x", "new")
    mirror.apply_state(plant.state())
    state = mirror.state
    assert state.alive_mask is before
    assert state.corpus == corpus
    nodes = state.index.leaves.node_of
    assert (
        state.alive().tolist()
        == ((nodes >= 0) & (state.items.unavailable_from[: len(nodes)] > state.watermark)).tolist()
    )
