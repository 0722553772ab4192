"""Units of time: which unit a number is probably in, and times as texts. Every entrance for times asks here.

The project's times are whole epoch milliseconds. A number is taken for another unit where only that unit makes it a
time between 1990 and 2100; such a time is refused with the unit it seems to be in, never converted in silence.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

# 1990-01-01 and 2100-01-01, epoch seconds: events of before and after are not expected.
YEAR_1990: Final = 631_152_000
# As above.
YEAR_2100: Final = 4_102_444_800

# Units by name, in fractions of a second.
UNITS: Final = {"seconds": 1, "milliseconds": 10**3, "microseconds": 10**6, "nanoseconds": 10**9}


def guess_unit(value: int) -> str | None:
    """Return the unit in which `value` is a time from 1990 to 2100; None if there is none. At most one is.

    Examples
    --------
    >>> [guess_unit(1_700_000_000 * part) for part in (1, 10**3, 10**6, 10**9)]
    ['seconds', 'milliseconds', 'microseconds', 'nanoseconds']
    >>> guess_unit(0)
    """
    for name, parts in UNITS.items():
        if YEAR_1990 * parts <= value < YEAR_2100 * parts:
            return name
    return None


def wrong_unit(value: int) -> str:
    """Say which other unit than milliseconds a time seems to be in; empty if it does not.

    Examples
    --------
    >>> wrong_unit(1_700_000_000)
    'it looks like seconds (2023-11-14T22:13:20Z); write epoch milliseconds: 1700000000000'
    >>> wrong_unit(1_700_000_000_000)
    ''
    """
    unit = guess_unit(value)
    if unit is None or unit == "milliseconds":
        return ""
    millis = value * 1000 // UNITS[unit]
    return f"it looks like {unit} ({as_text(millis)}); write epoch milliseconds: {millis}"


def as_text(millis: int) -> str:
    """Return epoch milliseconds as an ISO 8601 text in UTC, to the second."""
    return datetime.fromtimestamp(millis / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def require_millis(value: int, field: str) -> None:
    """Refuse a time that seems to be in another unit.

    Raises
    ------
    ValueError
        With the field, the value and the unit.
    """
    if complaint := wrong_unit(value):
        raise ValueError(f"`{field}` is {value}: {complaint}")


def explain_value(value: object) -> str:
    """Say what a value seems to be that cannot be read as a time; empty if it is no time in any notation.

    Examples
    --------
    >>> explain_value("2023-11-14T22:13:20+00:00")
    'it looks like an ISO 8601 text; write epoch milliseconds: 1700000000000'
    >>> explain_value("1700000000"), explain_value(1.5)
    ('it looks like seconds (2023-11-14T22:13:20Z); write epoch milliseconds: 1700000000000', '')
    """
    if isinstance(value, str) and value.isdecimal() and len(value) < 20:  # 20 digits are beyond nanoseconds
        value = int(value)
        return wrong_unit(value) or "it is a text; write epoch milliseconds as a number"
    if isinstance(value, str):
        try:
            moment = datetime.fromisoformat(value)
        except ValueError:
            return ""
        if moment.tzinfo is None:
            return "it looks like an ISO 8601 text without a time zone; write epoch milliseconds"
        return f"it looks like an ISO 8601 text; write epoch milliseconds: {int(moment.timestamp() * 1000)}"
    if isinstance(value, int | float) and value == value and abs(value) < 10**20:
        return wrong_unit(int(value))
    return ""
