from __future__ import annotations

import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hsnn.serving.mirror.feature_index import FeatureIndex
from hsnn.serving.mirror.feature_values import (
    AnyOf,
    Present,
    UnderPath,
    canonical_value,
    canonical_values,
    number_of,
)


@pytest.fixture
def index():
    index = FeatureIndex()
    for row, value in enumerate([True, 1, 1.0, "true", "1", False, 0, "False", "new"]):
        index.set_features(row, {"stock": value})
    return index


@pytest.mark.parametrize("asked", [True, 1, 1.0, "true", "TRUE", "1", "1.0"])
def test_values_that_mean_the_same_are_found_by_each_other(index, asked):
    assert index.mask("stock", [asked], rows=9).tolist() == [True] * 5 + [False] * 4


def test_other_values_are_not(index):
    assert index.mask("stock", [False], rows=9).nonzero()[0].tolist() == [5, 6, 7]
    assert index.mask("stock", ["new"], rows=9).nonzero()[0].tolist() == [8]
    assert not index.mask("stock", ["01", 2, None], rows=9).any()


def test_a_changed_value_moves_in_cached_masks_too(index):
    index.mask("stock", ["1"], rows=9)
    index.set_features(0, {"stock": "0"})
    assert not index.mask("stock", [True], rows=9)[0]
    assert index.mask("stock", [0], rows=9)[0]


def test_codes_and_numbers_that_a_float_cannot_hold_stay_apart():
    written = ["007", "7", 10**17, 10**17 + 1, "1" * 17, "1" * 16 + "2", "1e3", 1000, "nan", "٣", " 1"]
    assert len({canonical_value(value) for value in written}) == len(written)
    assert canonical_value(float("nan")) == "nan"
    assert canonical_value(float("inf")) == "inf"


VALUES = st.one_of(st.sampled_from(["a", "b", "c/d", "2020-01-01", 1, 2.5, None, True, "x" * 9000]))
FEATURES = st.dictionaries(st.sampled_from(["one", "two"]), st.one_of(VALUES, st.lists(VALUES, max_size=3)))


@given(st.lists(st.dictionaries(st.integers(0, 6), FEATURES, max_size=4), max_size=15))
def test_masks_and_numbers_follow_changes_as_if_made_anew(batches):
    index, held = FeatureIndex(), {}
    predicates = [AnyOf(frozenset(["a", 1.0])), AnyOf(frozenset(["x" * 9000])), Present(), UnderPath("c", "/")]
    for batch in batches:
        index.set_many(batch)
        held |= batch
        copied = pickle.loads(pickle.dumps(index))
        assert copied.caches.masks == {}
        for name in ("one", "two"):
            values = [canonical_values(held.get(row, {}).get(name)) for row in range(7)]
            for predicate in predicates:
                wanted = [predicate.accepts(one) for one in values]
                assert index.predicate_mask(name, predicate, 7).tolist() == wanted
                assert copied.predicate_mask(name, predicate, 7).tolist() == wanted
            ranges = [any(1 <= number_of(value) <= 2.5 for value in one) for one in values]
            for one in (index, copied):
                assert one.range_mask(name, 1, 2.5, strict=(False, False), rows=7).tolist() == ranges
        assert [index.features(row) for row in range(7)] == [held.get(row, {}) for row in range(7)]


def test_caches_are_made_anew_behind_more_changes_than_are_remembered():
    index = FeatureIndex()
    assert not index.mask("stock", ["1"], rows=6000).any()
    index.set_many({row: {"stock": row % 2} for row in range(6000)})
    assert index.changed_since(0) is None
    assert index.mask("stock", ["1"], rows=6000).tolist() == [row % 2 == 1 for row in range(6000)]
    older = pickle.loads(pickle.dumps(index))
    older.continue_caches(index)
    assert older.caches is index.caches
    older.continue_caches(FeatureIndex())
    assert older.caches is index.caches
