"""Write times, ages and lists of names as short texts for a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

# Names in a text before "and N more": about one line of a terminal.
_NAMES_SHOWN = 10


def utc(ms: int) -> str:
    """Write epoch ms in UTC.

    Examples
    --------
    >>> utc(1_700_000_000_000)
    '2023-11-14 22:13:20'
    """
    return datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S")


def time_span(seconds: float) -> str:
    """Write a time span in its largest unit.

    Examples
    --------
    >>> time_span(5.4), time_span(7000), time_span(200_000)
    ('5 s', '1.9 h', '2.3 d')
    """
    for unit, size in (("d", 86400.0), ("h", 3600.0), ("min", 60.0)):
        if seconds >= size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.0f} s"


def age(seconds: float) -> str:
    """Write an age in whole numbers of the largest unit of which there are two.

    Examples
    --------
    >>> [age(seconds) for seconds in (12.3, 600, 86_400 * 3.5)]
    ['12 s', '10 min', '3 d']
    """
    for unit, length in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{int(seconds // length)} {unit}"
    return f"{int(max(0.0, seconds))} s"


def first_names(names: Sequence[str]) -> str:
    """Write the first of a list of names, and how many more there are.

    Examples
    --------
    >>> first_names(["a", "b"]), first_names([str(number) for number in range(12)])
    ('a, b', '0, 1, 2, 3, 4, 5, 6, 7, 8, 9 and 2 more')
    """
    count = len(names)
    text = ", ".join(names[:_NAMES_SHOWN]).encode(errors="backslashreplace").decode()
    return text + (f" and {count - _NAMES_SHOWN:,} more" if count > _NAMES_SHOWN else "")
