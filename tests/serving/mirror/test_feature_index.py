from __future__ import annotations

import pytest

from hsnn.serving.mirror.feature_index import FeatureIndex, canonical_value


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
