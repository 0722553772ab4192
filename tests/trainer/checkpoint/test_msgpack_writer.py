"""Pieces are what one call would write."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hsnn.trainer.checkpoint.msgpack_writer import encode_pieces

PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.floats(allow_nan=False) | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=40) | st.dictionaries(st.text(), inner, max_size=20),
)


@pytest.mark.slow
@settings(suppress_health_check=[HealthCheck.too_slow])  # drawing nested values takes long on a busy machine
@given(PLAIN)
def test_any_value(value):
    assert b"".join(encode_pieces(value)) == msgspec.msgpack.encode(value)


@pytest.mark.parametrize("length", [0, 1, 15, 16, 4095, 4096, 4097, 65_535, 65_536, 70_001])
def test_lists_of_any_length(length):
    value = {"a": [str(number) for number in range(length)], "b": (length, {"c": list(range(length))})}
    parts = list(encode_pieces(value))
    assert b"".join(parts) == msgspec.msgpack.encode(value)
    assert max(map(len, parts)) < 40_000
