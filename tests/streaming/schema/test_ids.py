"""Ids and partitions."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kafka.partitioner import murmur2 as theirs

from hsnn.streaming.log.partitioner import murmur2, partition_of
from hsnn.streaming.schema.ids import MAX_ID, canonical_id


@given(st.binary(max_size=40))
def test_the_hash_is_kafkas_own(key: bytes) -> None:
    assert murmur2(key) == theirs(key) & 0xFFFFFFFF
    assert partition_of(key, 7) == (theirs(key) & 0x7FFFFFFF) % 7


@given(st.integers(min_value=-(10**MAX_ID) // 100, max_value=10**MAX_ID - 1) | st.text(min_size=1, max_size=MAX_ID))
def test_an_id_is_text_and_stays_so(value: int | str) -> None:
    assert canonical_id(value) == str(value) == canonical_id(canonical_id(value))


@pytest.mark.parametrize("value", ["", "x" * 257, 10**256, -(10**255), 10**10_000], ids=range(5))
def test_no_id_and_too_long_ids_are_refused(value: str | int) -> None:
    with pytest.raises(ValueError, match="an id has"):
        canonical_id(value)
