"""Feature hashing: ``field=value`` pairs to a fixed number of token rows, the same in every process.

A token says which slot its field hashes to, ``token % FIELD_SLOTS``, so that matches can be told apart by field
(`hsnn.trainer.features.cross_features`). The price: the values of one field share a quarter of the rows.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Mapping, Sequence
from functools import cache, lru_cache
from itertools import zip_longest
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from hsnn.streaming.schema.events import Feature
from hsnn.trainer.metrics import LEFT_OUT_FEATURES

_log = logging.getLogger(__name__)

FIELD_SLOTS = 4
"""Slots that fields are hashed to: more tell more fields apart, but leave each field a smaller part of the rows."""


# Bins of numbers, per unit of the logarithm. 256: 0.4% wide, so that near prices share one, and whole numbers up to 250
# have each their own. 4: a quarter of the value wide, for what the finer one has seen too rarely.
_GRIDS = (256, 4)


def hash_features(
    features: Mapping[str, Feature] | None, buckets: int, width: int, ignored: frozenset[str] = frozenset()
) -> list[int]:
    """Hash a feature mapping to at most `width` distinct token rows.

    A number gives two tokens, its bins on a fine and on a coarse logarithmic scale; 10 is 10.0, and true is 1. A text
    is hashed as it is, a list gives the tokens of each element, None and ignored fields give none. Order does not
    matter. What is more than `width` is left out, counted and said: every field keeps a value before any keeps two.

    Examples
    --------
    >>> hash_features({"genres": ["war", "drama"], "price": 9990}, 1000, 8) == hash_features(
    ...     {"price": 9991.0, "genres": ["drama", "war"]}, 1000, 8
    ... )
    True
    """
    if not features:
        return []
    try:  # contexts repeat
        return list(_cached_tokens(tuple(features.items()), buckets, width, ignored))
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
    features: tuple[tuple[str, Feature], ...], buckets: int, width: int, ignored: frozenset[str]
) -> list[int]:
    return _tokens(features, buckets, width, ignored)


def _tokens(features: Iterable[tuple[str, Feature]], buckets: int, width: int, ignored: frozenset[str]) -> list[int]:
    fields = [
        [_token(name, text, buckets) for text in sorted(_texts(value), key=_by_kind)]
        for name, value in sorted(features, key=_name)
        if name not in ignored
    ]
    rounds = zip_longest(*fields)  # every field's first value, then every field's second one, ...
    tokens = dict.fromkeys(token for values in rounds for token in values if token is not None)
    if len(tokens) > width:
        LEFT_OUT_FEATURES.inc(len(tokens) - width)
        _say_once(width)
    return list(tokens)[:width]


def _name(field: tuple[str, Feature]) -> str:
    return field[0]


def _texts(value: Feature) -> set[str]:
    """Return what is hashed of a feature: the bins of numbers, and texts."""
    texts: set[str] = set()
    for element in value if isinstance(value, list) else (value,):
        if isinstance(element, str):
            texts.add(element)
        elif element is not None:
            texts.update(_bins(element))
    return texts


def _bins(value: float) -> list[str]:
    try:
        number = float(value)
    except OverflowError:  # a whole number beyond the largest float
        number = math.inf
    if not math.isfinite(number):
        return ["~nan"]
    scale = math.copysign(math.log1p(abs(number)), number)
    return [f"~{grid}:{round(grid * scale)}" for grid in _GRIDS]


def _by_kind(text: str) -> tuple[bool, str]:
    return text.startswith("~4:"), text  # coarse bins last: the finer ones say more


@cache
def _say_once(width: int) -> None:
    _log.warning(
        "an item, user or context has more than %d feature values; the model does not see what is more "
        "(trainer.model.item_tokens, user_tokens, context_tokens; hsnn_left_out_features_total counts)",
        width,
    )


@lru_cache(maxsize=65536)
def _token(name: str, value: str, buckets: int) -> int:
    """Hash a field's value to one of the rows ``slot, slot + FIELD_SLOTS, ...`` of its field's slot."""
    slot, rows = crc32(name.encode()) % FIELD_SLOTS, max(buckets // FIELD_SLOTS, 1)
    return (crc32(f"{name}={value}".encode()) % rows * FIELD_SLOTS + slot) % buckets
