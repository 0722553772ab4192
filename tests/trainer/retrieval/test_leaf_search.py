from __future__ import annotations

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from hsnn.trainer.features.item_counters import ItemCounters
from hsnn.trainer.retrieval.leaf_records import LeafRecords, RecordColumns
from hsnn.trainer.retrieval.leaf_scan import LeafArrays, ScanQuery
from hsnn.trainer.retrieval.leaf_search import LeafBounds, StatesByPlace, UpperBounds, search_leaves

# In a fresh clone the kernels are compiled first.
pytestmark = [pytest.mark.slow, pytest.mark.long("compiled kernels"), pytest.mark.timeout(600)]

LEAVES, STATIC, STATE = 7, 5, 3
SCALES = st.sampled_from([0.0, 1e-3, 1.0, 100.0])
OFFSETS = st.sampled_from([0.0, -2.0, 1e4])


def world(seed: int, items: int, scale: float, offset: float) -> tuple[LeafArrays, StatesByPlace, ScanQuery]:
    """Items of every kind in leaves, some of them empty; some items are twins, and some have no bias."""
    rng = np.random.default_rng(seed)
    vectors = offset + scale * rng.standard_normal((items, STATIC + 1)) * rng.exponential(1, (items, 1))
    vectors[rng.random(items) < 0.2] = vectors[0]
    nodes, counters = rng.integers(LEAVES - 1, size=items).astype(np.int32), ItemCounters()
    counters.reserve(items)
    records = LeafRecords(LEAVES, STATIC + STATE, popularity_factor=0.0)
    columns = RecordColumns(
        nodes, vectors.astype(np.float32), np.zeros((items, STATE + 1), np.float32), np.full(items, 10)
    )
    records.rebuild(columns, counters)
    arrays = records.arrays
    places = len(arrays.row)
    states = StatesByPlace(
        (offset + scale * rng.standard_normal((places, STATE))).astype(np.float32),
        (rng.normal(0, 3, places) * (rng.random(places) < 0.8)).astype(np.float32),
    )
    query = ScanQuery(
        vector=(10.0 ** rng.integers(-3, 3) * rng.standard_normal(STATIC + STATE)).astype(np.float32),
        leaf_scores=rng.normal(0, 2, LEAVES).astype(np.float32),
        leaf_logits=np.zeros(LEAVES, np.float32),
        mask=rng.random(items) < rng.choice([0.3, 1.0]),
        boosts=rng.normal(0, 2, items // 2).astype(np.float32),
        excluded=np.zeros(0, np.int64),
        pair_rows=np.sort(rng.choice(items, items // 5, replace=False)),
        pair_scores=rng.normal(0, 5, items // 5).astype(np.float32),
        departed_to=5,
    )
    return arrays, states, query


def true_scores(arrays: LeafArrays, states: StatesByPlace, query: ScanQuery) -> np.ndarray:
    """The score of every row, in double precision."""
    rows, wide = len(arrays.place), np.float64
    place, out = arrays.place, np.zeros(rows)
    split = len(query.vector) - states.vectors.shape[1]
    out += arrays.vectors[place, :split].astype(wide) @ query.vector[:split].astype(wide)
    out += states.vectors[place].astype(wide) @ query.vector[split:].astype(wide)
    out += states.bias[place].astype(wide) + query.leaf_scores[arrays.leaf].astype(wide)
    out[: len(query.boosts)] += query.boosts
    return out


def found(arrays: LeafArrays, states: StatesByPlace, query: ScanQuery, upper: UpperBounds, wanted: int):
    order = np.argsort(-upper.leaves, kind="stable")
    return search_leaves(
        arrays, states, query._replace(mask=query.mask.copy()), order=order, upper=upper, wanted=wanted
    )


@given(st.integers(0, 10**6), st.integers(1, 150), SCALES, OFFSETS)
@settings(max_examples=60, deadline=None, phases=[Phase.explicit, Phase.generate])
def test_no_score_is_above_its_bounds(seed, items, scale, offset):
    arrays, states, query = world(seed, items, scale, offset)
    upper = UpperBounds.of_request(LeafBounds.of_items(arrays, states), query, STATIC)
    scores, place = true_scores(arrays, states, query), arrays.place
    ball = upper.centre[arrays.leaf] + upper.item_radius[place] @ upper.norms
    of_items = np.minimum(upper.box[arrays.leaf], ball) + states.bias[place] + upper.extra[arrays.leaf]
    assert (of_items >= scores).all()
    for leaf in range(LEAVES):
        assert upper.leaves[leaf] >= scores[arrays.leaf == leaf].max(initial=-np.inf)


@given(st.integers(0, 10**6), st.integers(1, 150), SCALES, OFFSETS, st.sampled_from([1, 10, 400]))
@settings(max_examples=60, deadline=None, phases=[Phase.explicit, Phase.generate])
def test_with_bounds_the_same_is_found_as_without(seed, items, scale, offset, wanted):
    arrays, states, query = world(seed, items, scale, offset)
    upper = UpperBounds.of_request(LeafBounds.of_items(arrays, states), query, STATIC)
    rows, scores, scored, candidates, opened = found(arrays, states, query, upper, wanted)
    every = found(arrays, states, query, UpperBounds.none(LEAVES), wanted)
    assert (rows.tolist(), scores.tolist()) == (every[0].tolist(), every[1].tolist())
    assert every[2] == every[3] == np.count_nonzero(query.mask)
    assert scored <= candidates <= every[3]
    assert opened <= every[4]
    expected = true_scores(arrays, states, query)
    expected[query.pair_rows] += query.pair_scores
    allowed = np.flatnonzero(query.mask)
    best = np.sort(expected[allowed])[::-1][:wanted]
    assert scores == pytest.approx(best, rel=1e-4, abs=1e-4 * max(np.abs(best).max(initial=0), 1))
    assert query.mask[rows].all()
    order = list(zip((-scores).tolist(), rows.tolist(), strict=True))
    assert order == sorted(order), "of equal scores the lower row first"


@pytest.mark.parametrize("huge", [np.inf, 3e38])
def test_where_scores_are_not_finite_nothing_is_ruled_out(huge):
    arrays, states, query = world(0, 50, 1.0, 0.0)
    arrays.vectors[arrays.place[7], :2] = huge
    query = query._replace(vector=np.ones(STATIC + STATE, np.float32), mask=np.ones(50, np.bool_))
    with np.errstate(all="ignore"):
        upper = UpperBounds.of_request(LeafBounds.of_items(arrays, states), query, STATIC)
        rows, _, scored, *_ = found(arrays, states, query, upper, 3)
    assert rows[0] == 7
    assert scored == 50


def test_no_item_at_all():
    records = LeafRecords(LEAVES, STATIC + STATE, popularity_factor=0.0)
    places = len(records.arrays.row)
    states = StatesByPlace(np.zeros((places, STATE), np.float32), np.zeros(places, np.float32))
    _, _, query = world(0, 5, 1.0, 0.0)
    bounds = LeafBounds.of_items(records.arrays, states)
    rows, *work = found(records.arrays, states, query, UpperBounds.of_request(bounds, query, STATIC), 3)
    assert len(rows) == 0
    assert work[1:] == [0, 0, 0]
