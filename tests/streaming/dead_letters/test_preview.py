"""Previews of untrusted bytes."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from hsnn.streaming.dead_letters.preview import preview


@given(st.binary(max_size=300), st.integers(1, 100))
def test_preview_is_one_printable_line_of_bounded_length(value: bytes, max_bytes: int) -> None:
    shown = preview(value, max_bytes)
    assert shown.isprintable()
    assert len(shown) <= 10 * max_bytes + 20
    assert (f"({len(value)} bytes)" in shown) == (len(value) > max_bytes)
