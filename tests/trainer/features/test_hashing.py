from __future__ import annotations

import math
import subprocess
import sys
from zlib import crc32

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hsnn.trainer.features.hashing import FIELD_SLOTS, hash_features, pad_tokens
from hsnn.trainer.metrics import LEFT_OUT_FEATURES
from tests.paths import ROOT

SCALARS = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5))
FEATURES = st.dictionaries(st.text(max_size=4), st.one_of(SCALARS, st.lists(SCALARS, max_size=4)), max_size=5)
EXAMPLE = {"genre": ["drama", "war"], "year": 1994, "price": 3.5, "new": True, "café": "ü"}
EXPECTED = [
    2345,
    2176,
    4989,
    2469,
    2531,
    1072,
    2433,
    545,
]  # fields by name; crc32(b"genre=drama") % 2048 * 4 + crc32(b"genre") % 4 is the second


def test_tokens_are_these_numbers():
    """A model is only as good as the agreement of all processes, now and later, on what a token means."""
    assert hash_features(EXAMPLE, 8192, 8) == EXPECTED


@pytest.mark.slow
def test_another_process_agrees_whatever_its_hash_seed():
    code = f"from hsnn.trainer.features.hashing import hash_features; print(hash_features({EXAMPLE!r}, 8192, 8))"
    for seed in ("1", "2"):
        done = subprocess.run(
            [sys.executable, "-X", "utf8", "-c", code],
            capture_output=True,
            text=True,
            check=True,
            env={"PYTHONHASHSEED": seed, "PATH": ""},
            cwd=ROOT,
        )
        assert done.stdout.strip() == str(EXPECTED)


@given(FEATURES, st.integers(1, 500), st.integers(1, 6))
def test_tokens_are_few_distinct_and_in_range_and_the_same_when_asked_again(features, buckets, width):
    found = hash_features(features, buckets, width)
    assert len(found) <= width
    assert len(set(found)) == len(found)
    assert all(0 <= token < buckets for token in found)
    assert hash_features(dict(features), buckets, width) == found


@given(st.text(max_size=4), st.lists(SCALARS, min_size=1, max_size=5), st.integers(FIELD_SLOTS, 500))
def test_a_token_tells_the_slot_of_its_field(field, values, buckets):
    found = hash_features({field: values}, buckets, 8)
    assert {token % FIELD_SLOTS for token in found} <= {crc32(field.encode()) % FIELD_SLOTS}


def test_a_field_has_a_quarter_of_the_rows():
    found = {token for number in range(1000) for token in hash_features({"n": number}, 64, 1)}
    assert len(found) == 64 // FIELD_SLOTS


def test_ignored_fields_and_absent_values_give_no_token():
    assert hash_features({"title": "x", "a": None, "tags": [None]}, 100, 8, frozenset({"title"})) == []
    assert hash_features(None, 100, 8) == []
    assert hash_features({}, 100, 8) == []


@pytest.mark.parametrize(
    ("one", "other", "shared"),
    [
        (10, 10.0, 2),
        (10.0, 10.01, 2),
        (9990, 9991, 2),
        (1, True, 2),
        (0, False, 2),
        (1000, 1010, 1),
        (3, 4, 1),
        (1.0, 100.0, 0),
        (-3.0, 3.0, 0),
        (1, "1", 0),
    ],
)
def test_near_numbers_share_bins_and_one_value_has_one_spelling(one, other, shared):
    left, right = (hash_features({"x": value}, 2**31, 2) for value in (one, other))
    assert len(set(left) & set(right)) == shared


FULL = {"genres": ["f", "b", "a", "e", "c", "d"], "year": 1999, "lang": "en", "brand": "acme"}


def test_neither_the_order_of_fields_nor_of_values_matters():
    turned = {name: value[::-1] if isinstance(value, list) else value for name, value in reversed(FULL.items())}
    assert hash_features(FULL, 8192, 8) == hash_features(turned, 8192, 8)


def test_every_field_is_seen_before_any_field_is_seen_in_full_and_the_rest_is_counted():
    before = LEFT_OUT_FEATURES._value.get()
    for name, other in (("brand", "x"), ("lang", "de"), ("year", 1950), ("genres", ["z"])):
        assert hash_features(FULL, 8192, 4) != hash_features(FULL | {name: other}, 8192, 4)
    assert LEFT_OUT_FEATURES._value.get() > before
    left = LEFT_OUT_FEATURES._value.get()
    hash_features({"genres": ["a", "b", "c"]}, 8192, 2)
    assert LEFT_OUT_FEATURES._value.get() == left + 1
    hash_features({"genres": ["a", "b"]}, 8192, 2)
    assert LEFT_OUT_FEATURES._value.get() == left + 1


def test_values_that_are_no_number_are_one_bin():
    assert (
        hash_features({"x": math.nan}, 2**31, 1)
        == hash_features({"x": math.inf}, 2**31, 1)
        == hash_features({"x": -math.inf}, 2**31, 1)
    )


def test_what_is_returned_may_be_changed():
    hash_features({"a": "x"}, 100, 8).append(5)
    assert len(hash_features({"a": "x"}, 100, 8)) == 1


def test_a_matrix_is_padded():
    assert pad_tokens([[1, 2], [], [3]], 3).tolist() == [[1, 2, -1], [-1, -1, -1], [3, -1, -1]]
    assert pad_tokens([], 3).shape == (0, 3)
    assert pad_tokens([[1]], 1).dtype == np.int32
