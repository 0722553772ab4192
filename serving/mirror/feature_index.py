"""Features of items by row, in arrays; an inverted index of their values, so that a feature filter is a look-up."""

from __future__ import annotations

import os
from collections import OrderedDict, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from hashlib import blake2b

import msgspec
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
from hsnn.trainer.rowstore.id_table import IdTable
from hsnn.trainer.rowstore.row_lists import RowLists

# Masks of recent filters that are cached; one takes a byte per row.
_CACHED_MASKS = 256

# Characters of a value that an index finds it by, beside a checksum of longer ones: a text store takes 65,535 bytes.
_LONGEST = 8000

# Changed rows that are remembered, so that caches follow them one by one; behind more of them, caches are made anew.
_REMEMBERED = 4096

Features = Mapping[str, Feature]


class FeatureIndex:
    """Raw features of items, and the rows that have a given value.

    Values are compared by what they mean (`canonical_value`), not by their type. Masks of recent filters are cached and
    follow the rows that change, so that a stream of new items does not slow filters down. Caches are those of a reader:
    a copy in another process has its own.

    Examples
    --------
    >>> index = FeatureIndex()
    >>> index.set_features(0, {"genres": ["war", "drama"], "price": 5})
    >>> index.set_features(1, {"genres": ["comedy"], "price": [1, 9]})
    >>> index.mask("genres", ["war"], rows=3).tolist()
    [True, False, False]
    >>> index.range_mask("price", 2, 8, strict=(False, False), rows=3).tolist()
    [True, False, False]
    >>> index.features(0)
    {'genres': ['war', 'drama'], 'price': 5}
    """

    def __init__(self) -> None:
        self._encoded = RowLists(np.uint8)  # by row: MessagePack of its features, of no bytes for none
        self._values = IdTable()  # a row for each value of each feature, in order of appearance
        self._postings = RowLists(np.int32)  # by row of a value: the rows of items that have it
        self._values_of = RowLists(np.int32)  # by feature, in order of their names in `_names`: rows of its values
        self._names: dict[str, int] = {}
        self._changed: NDArray[np.int32] = np.zeros(_REMEMBERED, np.int32)  # the last rows that changed, in a ring
        self.changes = 0
        self._identity = os.urandom(8)  # copies of this index have the same one
        self.caches = FeatureCaches()

    @property
    def names(self) -> list[str]:
        """Names of the features that some item has or had."""
        return sorted(self._names)

    def has_name(self, name: str) -> bool:
        """Whether some item has or had a feature."""
        return name in self._names

    def features(self, row: int) -> dict[str, Feature]:
        """Decode the features of a row; a row that is not known has none."""
        encoded = self._encoded[row]
        return _DECODER.decode(encoded.tobytes()) if len(encoded) else {}

    def set_features(self, row: int, features: Features) -> None:
        """Set the features of a row."""
        self.set_many({row: features})

    def set_many(self, features: Mapping[int, Features]) -> None:
        """Set the features of rows."""
        gained: defaultdict[str, list[int]] = defaultdict(list)
        lost: defaultdict[str, list[int]] = defaultdict(list)
        for row, now in features.items():
            before = self.features(row)
            for name in before.keys() | now.keys():
                old, new = canonical_values(before.get(name)), canonical_values(now.get(name))
                if new and name not in self._names:
                    self._names[name] = len(self._names)
                for value in old - new:
                    lost[_key(name, value)].append(row)
                for value in new - old:
                    gained[_key(name, value)].append(row)
        rows = list(features)
        encoded = [msgspec.msgpack.encode(one) if one else b"" for one in features.values()]
        self._encoded.write(rows, [np.frombuffer(one, np.uint8) for one in encoded])
        for at, gone in zip(self._values.find(list(lost)).tolist(), lost.values(), strict=True):
            self._postings.remove(at, gone)
        known = len(self._values)
        places = self._values.add(list(gained)).tolist()
        new_values: defaultdict[int, list[int]] = defaultdict(list)
        for at, key, more in zip(places, gained, gained.values(), strict=True):
            self._postings.extend(at, more)
            if at >= known:
                new_values[self._names[_split(key)[0]]].append(at)
        for number, values in new_values.items():
            self._values_of.extend(number, values)
        self._remember(rows)

    def _remember(self, rows: Sequence[int]) -> None:
        last = np.array(rows[-_REMEMBERED:], np.int32)
        self.changes += len(rows)
        self._changed[(self.changes - len(last) + np.arange(len(last))) % _REMEMBERED] = last

    def continue_caches(self, before: FeatureIndex) -> None:
        """Go on with the caches of an older copy of this index; those of another one are of no use."""
        if before._identity == self._identity:
            self.caches = before.caches

    def changed_since(self, changes: int) -> list[int] | None:
        """List the rows that changed after so many changes; None if they are no longer remembered."""
        count = self.changes - changes
        if not 0 <= count <= _REMEMBERED:
            return None
        rows: list[int] = np.unique(self._changed[(changes + np.arange(count)) % _REMEMBERED]).tolist()
        return rows

    def values(self, row: int, name: str) -> Values:
        """Return the values that a row has of a feature."""
        return canonical_values(self.features(row).get(name))

    def mask(self, name: str, values: Iterable[Scalar], rows: int) -> NDArray[np.bool_]:
        """Mask of those of the first `rows` rows that have one of `values`: (rows,) bool, read-only."""
        return self.predicate_mask(name, AnyOf(frozenset(map(canonical_value, values))), rows)

    def predicate_mask(self, name: str, predicate: Predicate, rows: int) -> NDArray[np.bool_]:
        """Mask of those of the first `rows` rows whose values a predicate accepts: (rows,) bool, read-only."""
        masks = self.caches.brought_up_to(self).masks
        mask = masks.get((name, predicate))
        if mask is None or len(mask) < rows:
            mask = masks[name, predicate] = self._build_mask(name, predicate, rows=rows)
        masks.move_to_end((name, predicate))
        if len(masks) > _CACHED_MASKS:
            masks.popitem(last=False)
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
        columns = self.caches.brought_up_to(self).numbers
        column = columns.get(name)
        if column is None:
            column = columns[name] = _NumberColumn()
            for value, at in self._known_values(name):
                number = number_of(value)
                for row in self._postings[at].tolist() if number == number else ():
                    column.add(row, number)
        return column

    def _build_mask(self, name: str, predicate: Predicate, rows: int) -> NDArray[np.bool_]:
        mask = np.zeros(rows, np.bool_)
        # Only the accepted values are looked up where a predicate names them; a feature may have a million others.
        if isinstance(predicate, AnyOf):
            found = self._values.find([_key(name, value) for value in predicate.accepted]).tolist()
        else:
            found = [at for value, at in self._known_values(name) if predicate.accepts(frozenset([value]))]
        for at in found:
            if at >= 0:
                index = self._postings[at]
                mask[index[index < rows]] = True
        return mask

    def _known_values(self, name: str) -> Iterable[tuple[Value, int]]:
        """List the values that a feature has or had, and the row of each."""
        if name not in self._names:
            return []
        at = self._values_of[self._names[name]]
        return [(_split(key)[1], row) for key, row in zip(self._values.ids.select(at), at.tolist(), strict=True)]


_DECODER = msgspec.msgpack.Decoder(dict[str, Feature])


def _key(name: str, value: Value) -> str:
    """Write a value of a feature as the text under which it is found.

    Examples
    --------
    >>> _split(_key("year", 2003.0)), _split(_key("genre", "2003"))
    (('year', 2003.0), ('genre', '2003'))
    """
    if isinstance(value, float):
        return f"{len(name)}:{name}{value!r}"
    if len(value) > _LONGEST:
        value = value[:_LONGEST] + blake2b(value.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
    return f"{len(name)}:{name}'{value}"


def _split(key: str) -> tuple[str, Value]:
    length, _, rest = key.partition(":")
    name, text = rest[: int(length)], rest[int(length) :]
    return name, text[1:] if text.startswith("'") else float(text)


class FeatureCaches:
    """Masks of filters and columns of numbers that a reader of a `FeatureIndex` has made.

    Attributes
    ----------
    masks : (name, predicate) -> (rows,) bool
    numbers : name -> column
    """

    def __init__(self) -> None:
        self.masks: OrderedDict[tuple[str, Predicate], NDArray[np.bool_]] = OrderedDict()
        self.numbers: dict[str, _NumberColumn] = {}
        self._changes = 0

    def __reduce__(self) -> tuple[type[FeatureCaches], tuple[()]]:
        return FeatureCaches, ()

    def brought_up_to(self, index: FeatureIndex) -> FeatureCaches:
        """Follow the rows that changed since the last call, and return the caches."""
        if self._changes != index.changes:
            rows = index.changed_since(self._changes)
            if rows is None:
                self.masks.clear()
                self.numbers.clear()
            elif self.masks or self.numbers:
                self._follow(index, rows)
            self._changes = index.changes
        return self

    def _follow(self, index: FeatureIndex, rows: Iterable[int]) -> None:
        for row in rows:
            features = index.features(row)
            for name, column in self.numbers.items():
                column.set_row(row, canonical_values(features.get(name)))
            for (name, predicate), mask in self.masks.items():
                if row < len(mask):
                    mask[row] = predicate.accepts(canonical_values(features.get(name)))


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
