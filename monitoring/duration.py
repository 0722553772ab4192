"""Durations in the configuration: ``"250ms"``, ``"10s"``, ``"2h"``, ``"1d"`` or a number of seconds."""

from __future__ import annotations

import math
import re
from typing import Annotated

from pydantic import BeforeValidator

# Seconds per unit.
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0}

# Seconds: a hundred years, which fit into 64 bits of milliseconds with room for any time beside them.
_LONGEST = 36_500 * 86_400.0

# A number and a unit.
_PATTERN = re.compile(r"\s*(\d+(?:\.\d+)?)\s*(ms|s|min|m|h|d)\s*")


def parse_duration(value: object) -> float:
    """Parse a duration into seconds.

    Raises
    ------
    ValueError
        The value is not a non-negative number, or a number with a unit, or longer than a hundred years.

    Examples
    --------
    >>> parse_duration("250ms"), parse_duration("2h"), parse_duration(3)
    (0.25, 7200.0, 3.0)
    """
    seconds = _seconds(value)
    if seconds is None:
        raise ValueError(f"{value!r} is not a duration; write a number with one of {', '.join(_UNITS)}, such as '10s'")
    if seconds > _LONGEST:
        raise ValueError(f"{value!r} is longer than {_LONGEST / _UNITS['d']:.0f}d, the longest duration")
    return seconds


def _seconds(value: object) -> float | None:
    if isinstance(value, int | float) and not isinstance(value, bool) and value >= 0:
        return float(min(value, math.inf))
    match = _PATTERN.fullmatch(value) if isinstance(value, str) else None
    return float(match[1]) * _UNITS[match[2]] if match else None


Duration = Annotated[float, BeforeValidator(parse_duration)]
"""Seconds as a float, written in configuration as in ``"10s"``."""


def format_duration(seconds: float) -> str:
    """Write a duration in the largest unit that keeps it exact; `parse_duration` reads it back.

    Examples
    --------
    >>> format_duration(7200.0), format_duration(90.0), format_duration(0.2), format_duration(0.0)
    ('2h', '90s', '200ms', '0s')
    """
    for unit, size in (("d", 86400.0), ("h", 3600.0), ("m", 60.0), ("s", 1.0)):
        if seconds % size == 0 and (seconds or unit == "s"):
            return f"{seconds / size:.0f}{unit}"
    milliseconds = seconds * 1000
    return f"{milliseconds:g}ms" if float(f"{milliseconds:g}") / 1000 == seconds else f"{seconds!r}s"
