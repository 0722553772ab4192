"""Inverted index of item features, so that a feature filter is a look-up; and columns of numbers, for ranges."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import NDArray

from hsnn.serving.mirror.feature_values import (
    NOT_A_NUMBER,
    AnyOf,
    Predicate,
    Value,
    Values,
    canonical_value,
    canonical_values,
    number_of,
)
from hsnn.streaming.schema.events import Feature, Scalar
from hsnn.trainer.rowstore.arrays import grown

# Masks of recent filters that are cached; one takes a byte per row.
_CACHED_MASKS = 256


class FeatureIndex:
    """Raw features of items, and the rows that have a given value.

    Values are compared by what they mean (`canonical_value`), not by their type. Masks of recent filters are cached and
    updated in place, so that a stream of new items does not slow filters down.

    Examples
    --------
    >>> index = FeatureIndex()
    >>> index.set_features(0, {"genres": ["war", "drama"], "price": 5})
    >>> index.set_features(1, {"genres": ["comedy"], "price": [1, 9]})
    >>> index.mask("genres", ["war"], rows=3).tolist()
    [True, False, False]
    >>> index.range_mask("price", 2, 8, strict=(False, False), rows=3).tolist()
    [True, False, False]
    """

    def __init__(self) -> None:
        self.features: dict[int, Mapping[str, Feature]] = {}
        self._postings: dict[str, dict[Value, set[int]]] = {}
        self._masks: OrderedDict[tuple[str, Predicate], NDArray[np.bool_]] = OrderedDict()
        self._numbers: dict[str, _NumberColumn] = {}

    @property
    def names(self) -> list[str]:
        """Names of the features that some item has or had."""
        return sorted(self._postings)

    def has_name(self, name: str) -> bool:
        """Whether some item has or had a feature."""
        return name in self._postings

    def set_features(self, row: int, features: Mapping[str, Feature]) -> None:
        """Set the features of a row."""
        before = self.features.get(row, {})
        self.features[row] = features
        for name in before.keys() | features.keys():
            old, new = canonical_values(before.get(name)), canonical_values(features.get(name))
            if old != new:
                self._update_postings(row, name, old, new)

    def values(self, row: int, name: str) -> Values:
        """Return the values that a row has of a feature."""
        return canonical_values(self.features.get(row, {}).get(name))

    def mask(self, name: str, values: Iterable[Scalar], rows: int) -> NDArray[np.bool_]:
        """Mask of those of the first `rows` rows that have one of `values`: (rows,) bool, read-only."""
        return self.predicate_mask(name, AnyOf(frozenset(map(canonical_value, values))), rows)

    def predicate_mask(self, name: str, predicate: Predicate, rows: int) -> NDArray[np.bool_]:
        """Mask of those of the first `rows` rows whose values a predicate accepts: (rows,) bool, read-only."""
        mask = self._masks.get((name, predicate))
        if mask is None or len(mask) < rows:
            mask = self._masks[name, predicate] = self._build_mask(name, predicate, rows=rows)
        self._masks.move_to_end((name, predicate))
        if len(self._masks) > _CACHED_MASKS:
            self._masks.popitem(last=False)
        return mask[:rows]

    def range_mask(
        self, name: str, least: float, most: float, *, strict: tuple[bool, bool], rows: int
    ) -> NDArray[np.bool_]:
        """Mask of those of the first `rows` rows that have a number from `least` to `most`: (rows,) bool.

        `strict` says whether the ends themselves are left out. Dates and times count as epoch ms.
        """
        return self._column(name).mask(least, most, strict, rows)

    def numbers(self, name: str, rows: int) -> NDArray[np.float64]:
        """Return a number of each of the first `rows` rows, of several any one, NaN where there is none: (rows,)."""
        numbers = np.full(rows, NOT_A_NUMBER)
        first = self._column(name).first[:rows]
        numbers[: len(first)] = first
        return numbers

    def _column(self, name: str) -> _NumberColumn:
        """Return the numbers of a feature, which are gathered when first asked for and followed from then on."""
        column = self._numbers.get(name)
        if column is None:
            column = self._numbers[name] = _NumberColumn()
            for value, posted in self._postings.get(name, {}).items():
                number = number_of(value)
                for row in posted if number == number else ():
                    column.add(row, number)
        return column

    def _build_mask(self, name: str, predicate: Predicate, rows: int) -> NDArray[np.bool_]:
        mask = np.zeros(rows, np.bool_)
        postings = self._postings.get(name, {})
        # Only the accepted values are looked up where a predicate names them; a feature may have a million others.
        values = predicate.accepted if isinstance(predicate, AnyOf) else list(postings)
        for value in values:
            if value in postings and predicate.accepts(frozenset([value])):
                posted = postings[value]
                index = np.fromiter(posted, np.int64, len(posted))
                mask[index[index < rows]] = True
        return mask

    def _update_postings(self, row: int, name: str, old: Values, new: Values) -> None:
        postings = self._postings.setdefault(name, {})
        for value in old - new:
            postings[value].discard(row)
        for value in new - old:
            postings.setdefault(value, set()).add(row)
        if name in self._numbers:
            self._numbers[name].set_row(row, new)
        for (other, predicate), mask in self._masks.items():
            if other == name and row < len(mask):
                mask[row] = predicate.accepts(new)


class _NumberColumn:
    """The numbers of a feature by row: the first in an array, which one pass compares, further ones aside."""

    def __init__(self) -> None:
        self.first: NDArray[np.float64] = np.full(0, NOT_A_NUMBER)
        self._further: dict[int, list[float]] = {}

    def set_row(self, row: int, values: Values) -> None:
        """Replace the numbers of a row."""
        if row < len(self.first):
            self.first[row] = NOT_A_NUMBER
        self._further.pop(row, None)
        for number in map(number_of, values):
            if number == number:
                self.add(row, number)

    def add(self, row: int, number: float) -> None:
        """Add a number of a row."""
        self.first = grown(self.first, row + 1, NOT_A_NUMBER)
        if self.first[row] != self.first[row]:
            self.first[row] = number
        else:
            self._further.setdefault(row, []).append(number)

    def mask(self, least: float, most: float, strict: tuple[bool, bool], rows: int) -> NDArray[np.bool_]:
        """Mask of the rows that have a number in a range; see `FeatureIndex.range_mask`."""
        mask = np.zeros(rows, np.bool_)
        first = self.first[:rows]
        mask[: len(first)] = in_range(first, least, most, strict)
        for row, numbers in self._further.items():
            if row < rows and in_range(np.array(numbers), least, most, strict).any():
                mask[row] = True
        return mask


def in_range(numbers: NDArray[np.float64], least: float, most: float, strict: tuple[bool, bool]) -> NDArray[np.bool_]:
    """Test which of `numbers` (n,) are in a range, whose ends may be infinite; NaN is in none."""
    above = numbers > least if strict[0] else numbers >= least
    return above & (numbers < most if strict[1] else numbers <= most)
