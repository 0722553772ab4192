"""Inverted index of item features, so that a feature filter is a look-up."""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import NDArray

from hsnn.streaming.schema.events import Feature, Scalar

# Masks of recent filters that are cached; one takes a byte per row.
_CACHED_MASKS = 256

Value = str | float
"""A value as `canonical_value` writes it."""

Values = frozenset[Value]
"""Values of a feature; the accepted values of a filter."""

_WORDS = {"true": 1.0, "false": 0.0}
"""What a text may say besides a number."""

# At most 15 digits: a float has them all.
_PLAIN_NUMBER = re.compile(r"(?=.{1,16}$)-?(0|[1-9][0-9]*)([.][0-9]+)?", re.ASCII)

# Largest number up to which whole ones are exact floats; larger ones are compared as they are written.
_EXACT = 2**53


class FeatureIndex:
    """Raw features of items, and the rows that have a given value.

    Values are compared by what they mean (`canonical_value`), not by their type. Masks of recent filters are cached and
    updated in place, so that a stream of new items does not slow filters down.

    Examples
    --------
    >>> index = FeatureIndex()
    >>> index.set_features(0, {"genres": ["war", "drama"]})
    >>> index.set_features(1, {"genres": ["comedy"]})
    >>> index.mask("genres", ["war"], rows=3).tolist()
    [True, False, False]
    """

    def __init__(self) -> None:
        self.features: dict[int, Mapping[str, Feature]] = {}
        self._postings: dict[str, dict[Value, set[int]]] = {}
        self._masks: OrderedDict[tuple[str, Values], NDArray[np.bool_]] = OrderedDict()

    @property
    def names(self) -> list[str]:
        """Names of the features that some item has or had."""
        return sorted(self._postings)

    def set_features(self, row: int, features: Mapping[str, Feature]) -> None:
        """Set the features of a row."""
        before = self.features.get(row, {})
        self.features[row] = features
        for name in before.keys() | features.keys():
            old, new = _values(before.get(name)), _values(features.get(name))
            if old != new:
                self._update_postings(row, name, old, new)

    def mask(self, name: str, values: Iterable[Scalar], rows: int) -> NDArray[np.bool_]:
        """Mask of those of the first `rows` rows that have one of `values`: (rows,) bool, read-only."""
        filter_key = (name, _values([*values]))
        mask = self._masks.get(filter_key)
        if mask is None or len(mask) < rows:
            mask = self._masks[filter_key] = self._build_mask(*filter_key, rows=rows)
        self._masks.move_to_end(filter_key)
        if len(self._masks) > _CACHED_MASKS:
            self._masks.popitem(last=False)
        return mask[:rows]

    def _build_mask(self, name: str, values: Values, rows: int) -> NDArray[np.bool_]:
        mask = np.zeros(rows, np.bool_)
        for value in values:
            posted = self._postings.get(name, {}).get(value, ())
            index = np.fromiter(posted, np.int64, len(posted))
            mask[index[index < rows]] = True
        return mask

    def _update_postings(self, row: int, name: str, old: Values, new: Values) -> None:
        postings = self._postings.setdefault(name, {})
        for value in old - new:
            postings[value].discard(row)
        for value in new - old:
            postings.setdefault(value, set()).add(row)
        for (other, values), mask in self._masks.items():
            if other == name and row < len(mask):
                mask[row] = not values.isdisjoint(new)


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


def _values(feature: Feature) -> Values:
    values = feature if isinstance(feature, list) else () if feature is None else (feature,)
    return frozenset(map(canonical_value, values))
