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
from tests.paths import ROOT

SCALARS = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5))
FEATURES = st.dictionaries(st.text(max_size=4), st.one_of(SCALARS, st.lists(SCALARS, max_size=4)), max_size=5)
EXAMPLE = {"genre": ["drama", "war"], "year": 1994, "price": 3.5, "new": True, "café": "ü"}
EXPECTED = [2176, 1072, 543, 5021, 3341, 2345]  # crc32(b"genre=drama") % 2048 * 4 + crc32(b"genre") % 4, ...


def test_tokens_are_these_numbers():
    """A model is only as good as the agreement of all processes, now and later, on what a token means."""
    assert hash_features(EXAMPLE, 8192, 8) == EXPECTED


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
    ("one", "other", "same"),
    [
        (1.0, 1.02, True),
        (1.0, 100.0, False),
        (1, 1.0, False),
        (1, 2, False),
        (1, True, False),
        (1, "1", True),
        (-3.0, 3.0, False),
    ],
)
def test_floats_share_a_bin_and_nothing_else_does(one, other, same):
    assert (hash_features({"x": one}, 2**31, 1) == hash_features({"x": other}, 2**31, 1)) is same


def test_values_that_are_no_number_are_one_bin():
    assert (
        hash_features({"x": math.nan}, 2**31, 1)
        == hash_features({"x": math.inf}, 2**31, 1)
        == hash_features({"x": -math.inf}, 2**31, 1)
    )


def test_what_is_returned_may_be_changed():
    hash_features({"a": 1}, 100, 8).append(5)
    assert len(hash_features({"a": 1}, 100, 8)) == 1


def test_a_matrix_is_padded():
    assert pad_tokens([[1, 2], [], [3]], 3).tolist() == [[1, 2, -1], [-1, -1, -1], [3, -1, -1]]
    assert pad_tokens([], 3).shape == (0, 3)
    assert pad_tokens([[1]], 1).dtype == np.int32
