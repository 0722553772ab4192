"""Feature hashing: ``field=value`` pairs to a fixed number of token rows, the same in every process.

A token says which slot its field hashes to, ``token % FIELD_SLOTS``, so that matches can be told apart by field
(`hsnn.trainer.features.cross_features`). The price: the values of one field share a quarter of the rows.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from hsnn.streaming.schema.events import Feature, Scalar

FIELD_SLOTS = 4
"""Slots that fields are hashed to: more tell more fields apart, but leave each field a smaller part of the rows."""


def hash_features(
    features: Mapping[str, Feature] | None, buckets: int, width: int, ignored: frozenset[str] = frozenset()
) -> list[int]:
    """Hash a feature mapping to at most `width` distinct token rows.

    Floats are binned on a logarithmic scale, integers and strings are hashed as they are, a list gives one token per
    element, None and ignored fields give none.

    Examples
    --------
    >>> hash_features({"genres": ["drama", "war"], "price": 3.5}, 1000, 8) == hash_features(
    ...     {"genres": ["drama", "war"], "price": 3.6}, 1000, 8
    ... )
    True
    """
    if not features:
        return []
    try:  # contexts repeat; the type is in the key, because 1, 1.0 and True are equal but have different tokens
        key = tuple([(name, value.__class__, value) for name, value in features.items()])
        return list(_cached_tokens(key, buckets, width, ignored))
    except TypeError:  # a list is not hashable
        return _tokens(features.items(), buckets, width, ignored)


def pad_tokens(rows: Sequence[Sequence[int]], width: int) -> NDArray[np.int32]:
    """Pack token lists into one (n, width) matrix, -1 padded."""
    matrix = np.full((len(rows), width), -1, np.int32)
    for index, row in enumerate(rows):
        matrix[index, : len(row)] = row
    return matrix


@lru_cache(maxsize=65536)
def _cached_tokens(
    key: tuple[tuple[str, type, Scalar], ...], buckets: int, width: int, ignored: frozenset[str]
) -> list[int]:
    return _tokens([(name, value) for name, _, value in key], buckets, width, ignored)


def _tokens(features: Iterable[tuple[str, Feature]], buckets: int, width: int, ignored: frozenset[str]) -> list[int]:
    tokens: dict[int, None] = {}  # a set that keeps its order
    for name, value in features:
        if name not in ignored:
            for element in value if isinstance(value, list) else (value,):
                if element is not None:
                    tokens[_token(name, _bin(element), buckets)] = None
    return list(tokens)[:width]


def _bin(value: Scalar) -> str:
    if isinstance(value, float):
        return f"~{round(4 * math.copysign(math.log1p(abs(value)), value))}" if math.isfinite(value) else "~nan"
    return str(value)


@lru_cache(maxsize=65536)
def _token(name: str, value: str, buckets: int) -> int:
    """Hash a field's value to one of the rows ``slot, slot + FIELD_SLOTS, ...`` of its field's slot."""
    slot, rows = crc32(name.encode()) % FIELD_SLOTS, max(buckets // FIELD_SLOTS, 1)
    return (crc32(f"{name}={value}".encode()) % rows * FIELD_SLOTS + slot) % buckets
