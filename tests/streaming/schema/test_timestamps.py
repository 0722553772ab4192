"""Units of time: each is told from the others, over the whole range, and never converted in silence."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hsnn.streaming.schema.timestamps import explain_value, guess_unit, require_millis

UNITS = {"seconds": 1, "milliseconds": 10**3, "microseconds": 10**6, "nanoseconds": 10**9}


@given(st.sampled_from(sorted(UNITS)), st.integers(631_152_000, 4_102_444_799))
def test_every_unit_is_told_from_the_others(unit: str, seconds: int) -> None:
    assert guess_unit(seconds * UNITS[unit]) == unit


@pytest.mark.parametrize("value", [0, 5, -1, 10**11, 10**20])
def test_what_is_no_plausible_time_is_none(value: int) -> None:
    assert guess_unit(value) is None
    require_millis(value, "ts")


@given(st.datetimes(datetime(1990, 1, 2), datetime(2099, 12, 30), timezones=st.just(UTC)))
def test_texts_are_explained_by_the_milliseconds_they_mean(moment: datetime) -> None:
    assert explain_value(moment.isoformat()).endswith(f" {int(moment.timestamp() * 1000)}")


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("1700000000", "seconds"),
        ("1700000000000", "a text"),
        ("2023-11-14 22:13:20", "without a time zone"),
        (1_700_000_000_000_000, "microseconds"),
        (1_700_000_000_000_000_000, "nanoseconds"),
        (1_700_000_000.5, "seconds"),
    ],
)
def test_what_a_value_seems_to_be_is_said(value: object, said: str) -> None:
    assert said in explain_value(value)


@pytest.mark.parametrize("value", ["soon", "", None, [1], float("nan"), True, "9" * 30])
def test_what_is_no_time_in_any_notation_is_not_explained(value: object) -> None:
    assert explain_value(value) == ""


def test_a_refused_time_names_field_value_and_unit() -> None:
    with pytest.raises(ValueError, match=r"`expires_at` is 1700000000: it looks like seconds \(2023-11-14T22:13:20Z\)"):
        require_millis(1_700_000_000, "expires_at")
