"""Assembly of a `Dataset` from the columns of a source: text ids, shared contexts, order by time, arrivals."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from hsnn.streaming.datasets.base import Dataset, Impressions
from hsnn.streaming.schema.batch import Engagements
from hsnn.streaming.schema.events import Feature, Item, Scalar, User

Features = Mapping[str, dict[str, Feature]]
"""Id -> features."""


def dictionary_codes(column: Any) -> tuple[NDArray[np.int64], list[Any]]:
    """Return a code per row of a column, and the distinct values in order of first appearance."""
    array = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else pa.array(column)
    encoded = array.dictionary_encode(null_encoding="encode")
    return encoded.indices.to_numpy().astype(np.int64), encoded.dictionary.to_pylist()


def to_text(column: Any) -> list[str]:
    """Return every row as text; equal rows share one string object.

    Whole numbers that a data frame has made floating-point, because some are missing, are whole numbers.

    Examples
    --------
    >>> to_text(np.array([7, 3, 7])), to_text(np.array([3.0]))
    (['7', '3', '7'], ['3'])
    """
    indices, values = dictionary_codes(column)
    texts = [str(int(value) if isinstance(value, float) and value.is_integer() else value) for value in values]
    return _lookup(texts, indices)


def build_contexts(columns: Mapping[str, Any]) -> list[dict[str, Scalar] | None]:
    """Return one context per row, whole numbers as text (they are categories); equal rows share one context.

    Examples
    --------
    >>> build_contexts({"device": np.array([3, 1, 3])})
    [{'device': '3'}, {'device': '1'}, {'device': '3'}]
    """
    encoded = {name: dictionary_codes(column) for name, column in columns.items()}
    combined = np.zeros(len(next(iter(encoded.values()))[0]), np.int64)
    for indices, values in encoded.values():
        combined = combined * len(values) + indices
    _, first, inverse = np.unique(combined, return_index=True, return_inverse=True)
    distinct = [{name: _category(values[i[row]]) for name, (i, values) in encoded.items()} for row in first]
    return _lookup(distinct, inverse)


def time_order(ts: NDArray[np.int64], limit: int | None = None) -> NDArray[np.int64]:
    """Return the first `limit` rows by event time; ties keep the order of the source."""
    return np.argsort(ts, kind="stable")[:limit].astype(np.int64)


def build_engagements(
    ts: NDArray[np.int64],
    user: Sequence[str],
    item: Sequence[str],
    action: str | Sequence[str],
    value: NDArray[np.float32] | None = None,
    context: Sequence[dict[str, Scalar] | None] | None = None,
) -> Engagements:
    """Return interactions, already in order, as columns; a single `action` applies to all rows."""
    n = len(ts)
    return Engagements(
        ts=ts,
        sent_at=ts,
        user=user,
        item=item,
        action=[action] * n if isinstance(action, str) else action,
        value=np.full(n, np.nan, np.float32) if value is None else value,
        context=[None] * n if context is None else context,
    )


def build_dataset(
    name: str,
    engagements: Engagements,
    *,
    item_features: Features,
    user_features: Features,
    titles: Mapping[str, str],
    expire_after_idle: float | None = None,
    impressions: Impressions | None = None,
    links: NDArray[np.int64] | None = None,
    sequence: NDArray[np.int64] | None = None,
) -> Dataset:
    """Build a data set from engagements in order: add arrivals of items, and of users that have features."""
    items = _first_times(engagements.item, engagements.ts)
    users = _first_times(engagements.user, engagements.ts)
    if impressions is not None:
        shown = [(item, ts) for row, ts in zip(impressions.items, impressions.ts.tolist(), strict=True) for item in row]
        items = _earlier(items, _first_times([item for item, _ in shown], [ts for _, ts in shown]))
        users = _earlier(users, _first_times(impressions.user, impressions.ts))
    return Dataset(
        name=name,
        engagements=engagements,
        items=[Item(id=i, ts=max(t - 1, 0), features=item_features.get(i, {})) for i, t in items.items()],
        users=[User(id=u, ts=max(t - 1, 0), features=user_features[u]) for u, t in users.items() if u in user_features],
        titles={item: titles[item] for item in items if item in titles},
        sequence=np.arange(len(engagements)) if sequence is None else sequence,
        expire_after_idle=expire_after_idle,
        impressions=impressions,
        links=links,
    )


def _first_times(ids: Sequence[str], ts: Iterable[int]) -> dict[str, int]:
    first: dict[str, int] = {}
    for name, time in zip(ids, ts.tolist() if isinstance(ts, np.ndarray) else ts, strict=True):
        if name not in first:
            first[name] = time
    return first


def _earlier(left: Mapping[str, int], right: Mapping[str, int]) -> dict[str, int]:
    merged = {name: min(left.get(name, time), time) for name, time in right.items()}
    merged.update({name: time for name, time in left.items() if name not in merged})
    return dict(sorted(merged.items(), key=lambda pair: pair[1]))


def _lookup(values: list[Any], indices: NDArray[Any]) -> list[Any]:
    return list(map(values.__getitem__, indices.tolist()))


def _category(value: Any) -> Scalar:
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value
