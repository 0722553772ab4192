"""Canonical ids."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hsnn.streaming.schema.ids import MAX_ID, canonical_id


@given(st.integers(min_value=-(10**MAX_ID) // 100, max_value=10**MAX_ID - 1) | st.text(min_size=1, max_size=MAX_ID))
def test_canonical_id_is_idempotent_text(value: int | str) -> None:
    assert canonical_id(value) == str(value) == canonical_id(canonical_id(value))


@pytest.mark.parametrize("value", ["", "x" * 257, 10**256, -(10**255), 10**10_000], ids=range(5))
def test_empty_and_long_ids_are_errors(value: str | int) -> None:
    with pytest.raises(ValueError, match="an id has"):
        canonical_id(value)
