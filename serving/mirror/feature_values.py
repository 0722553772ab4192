"""Values of item features: written in one way, read as numbers or times, and tested by predicates."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol

from hsnn.streaming.schema.events import Feature, Scalar

Value = str | float
"""A value as `canonical_value` writes it."""

Values = frozenset[Value]
"""Values of a feature; the accepted values of a filter."""

_WORDS = {"true": 1.0, "false": 0.0}
"""What a text may say besides a number."""

# At most 15 digits: a float has them all.
_PLAIN_NUMBER = re.compile(r"(?=.{1,16}$)-?(0|[1-9][0-9]*)([.][0-9]+)?", re.ASCII)

# What is read as a date or time: other texts that begin like one, such as codes, stay texts.
_TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}([T ][0-9:.,]+(Z|[+-][0-9]{2}:?[0-9]{2})?)?", re.ASCII)

# Numbers that are compared as they are written: in a range their size counts, to 16 digits.
_LONG_NUMBER = re.compile(r"-?[1-9][0-9]{15,18}(e[+]?[0-9]+)?", re.ASCII)

# Largest number up to which whole ones are exact floats; larger ones are compared as they are written.
_EXACT = 2**53

NOT_A_NUMBER = float("nan")


class Predicate(Protocol):
    """A test of a feature's values; equal predicates share a cached mask, so it must be hashable."""

    def accepts(self, values: Values) -> bool:
        """Whether an item with these values of the feature passes; without any, it never does."""


@dataclass(frozen=True)
class AnyOf:
    """Accepts items that have one of some values."""

    accepted: Values

    def accepts(self, values: Values) -> bool:
        """Whether one of the values is accepted."""
        return not self.accepted.isdisjoint(values)


@dataclass(frozen=True)
class Present:
    """Accepts items that have the feature."""

    def accepts(self, values: Values) -> bool:
        """Whether there is a value."""
        return bool(values)


@dataclass(frozen=True)
class UnderPath:
    """Accepts items with a category path that is `path`, or below it.

    Examples
    --------
    >>> men = UnderPath("shoes/men", "/")
    >>> [men.accepts(frozenset([path])) for path in ("shoes/men", "shoes/men/boots", "shoes/mentoring")]
    [True, True, False]
    """

    path: str
    separator: str

    def accepts(self, values: Values) -> bool:
        """Whether one of the values is the path or below it."""
        top, below = canonical_value(self.path), self.path.removesuffix(self.separator) + self.separator
        return any(value == top or (isinstance(value, str) and value.startswith(below)) for value in values)


def canonical_value(value: Scalar) -> Value:
    """Write a value in one way: 1, 1.0, true, "1" and "true" are one value, as 2003 and "2003" are.

    A text is a number if it is written as a plain one: "007" and long numbers are codes, and stay texts.

    Examples
    --------
    >>> [canonical_value(value) for value in (True, "1.0", "2003", "007", "drama")]
    [1.0, 1.0, 2003.0, '007', 'drama']
    """
    if isinstance(value, str):
        known = _WORDS.get(value.casefold())
        return float(value) if _PLAIN_NUMBER.fullmatch(value) else value if known is None else known
    if value is None or abs(value) > _EXACT or value != value:
        return str(value)
    return float(value)


def canonical_values(feature: Feature) -> Values:
    """Write all values of a feature; null is none."""
    values = feature if isinstance(feature, list) else () if feature is None else (feature,)
    return frozenset(map(canonical_value, values))


def number_of(value: Value) -> float:
    """Read a canonical value as a number: itself, or a date or time in epoch ms, UTC unless it says otherwise.

    Examples
    --------
    >>> [number_of(value) for value in (2.5, "1970-01-02", "1970-01-01T00:00:01+01:00", "drama", "1970-13-01")]
    [2.5, 86400000.0, -3599000.0, nan, nan]
    """
    if isinstance(value, float):
        return value
    if _LONG_NUMBER.fullmatch(value):
        return float(value)
    if not _TIME.fullmatch(value):
        return NOT_A_NUMBER
    try:
        time = datetime.fromisoformat(value)
        return (time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp() * 1000
    except (ValueError, OverflowError):
        return NOT_A_NUMBER
