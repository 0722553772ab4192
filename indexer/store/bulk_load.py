"""The parts of a new version, written in bulk: pipelines without MULTI, since nobody reads the version yet."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hsnn.indexer.store import posting_lists
from hsnn.indexer.store.shards import REST, Part, parts_of, spread
from hsnn.indexer.store.version import IndexBase

AT_ONCE = 4 << 20
"""Bytes in one pipeline."""
_ENTRY = 40  # bytes of a map's or set's entry, about

Command = tuple[Any, ...]


class Items(NamedTuple):
    """Ids by row, and the ends of their lives (rows,) in ms of event time, 0 = none."""

    ids: Sequence[str]
    ends: NDArray[np.int64]


class _Order(NamedTuple):
    """Rows (rows,) in the order of their records, shard by shard, leaf by leaf, and the leaf of each, counted through.

    `slots` (rows,) are the places of the records, by row.
    """

    rows: NDArray[np.int64]
    group: NDArray[np.int64]
    slots: NDArray[np.int64]


def commands(number: int, base: IndexBase, items: Items, shards: int, chunk: int) -> Iterator[tuple[Command, int]]:
    """Commands that write the parts of a version, each with its size in bytes; `chunk` map entries in each.

    Parameters
    ----------
    number
        The version.
    base
        Its index.
    items
        Of the rows of `base`.
    shards, chunk
        Over how many shards the items are spread; entries of map or expiry set in one command.
    """
    nodes, width = len(base.representatives), base.vectors.shape[1]
    parts = parts_of(number, range(shards))
    for part in parts:
        yield ("HSET", part.head, "nodes", nodes, "width", width, "calls", 0), _ENTRY
    shard_of = spread(items.ids, shards)  # (rows,)
    order = _ordered(base.nodes, shard_of, nodes)
    yield from _leaves(parts, order, base, nodes)
    for part in parts:
        rows = np.flatnonzero((shard_of == part.shard) & (base.nodes >= 0))  # by row: ids lie so in memory
        yield from _entries(part, rows, order.slots, base, items, chunk)


def send(redis: Any, batch: Iterator[tuple[Command, int]]) -> None:
    """Send commands, some megabytes at once; `redis` is a client whose values are bytes.

    Raises
    ------
    redis.ResponseError
        The server refused one.
    """
    pipeline, waiting = redis.pipeline(transaction=False), 0
    for command, size in batch:
        pipeline.execute_command(*command)
        waiting += size
        if waiting >= AT_ONCE:
            pipeline.execute()
            waiting = 0
    pipeline.execute()


def _ordered(leaf_of: NDArray[np.int32], shard_of: NDArray[np.int64], nodes: int) -> _Order:
    place = np.where(leaf_of >= 0, leaf_of, nodes)  # (rows,), the last one is REST
    group = shard_of * (nodes + 1) + place  # (rows,)
    rows = np.argsort(group, kind="stable")
    group = group[rows]
    starts = np.searchsorted(group, group)  # (rows,), first of the same group
    slots = np.empty(len(rows), np.int64)
    slots[rows] = np.arange(len(rows)) - starts
    return _Order(rows, group, slots)


def _leaves(parts: Sequence[Part], order: _Order, base: IndexBase, nodes: int) -> Iterator[tuple[Command, int]]:
    groups, starts = np.unique(order.group, return_index=True)
    bounds = [*starts.tolist(), len(order.rows)]
    for group, (start, end) in zip(groups.tolist(), pairwise(bounds), strict=True):
        rows = order.rows[start:end]
        shard, leaf = divmod(group, nodes + 1)
        blob = posting_lists.pack(rows if leaf < nodes else ~rows, base.vectors[rows])
        yield ("SET", parts[shard].leaf(leaf if leaf < nodes else REST), blob), len(blob)


def _entries(
    part: Part, rows: NDArray[np.int64], slots: NDArray[np.int64], base: IndexBase, items: Items, chunk: int
) -> Iterator[tuple[Command, int]]:
    """Item map and expiry set of one part with the items of `rows` (n,); `slots` are by row."""
    leaf_texts = [f"{leaf}:" for leaf in range(len(base.representatives))]
    slot_texts = [str(slot) for slot in range(int(slots.max(initial=-1)) + 1)]
    id_of, leaf_of, slot_of = items.ids.__getitem__, leaf_texts.__getitem__, slot_texts.__getitem__
    for start in range(0, len(rows), chunk):
        some = rows[start : start + chunk]
        leaves, places = base.nodes[some].tolist(), slots[some].tolist()
        texts = map(operator.add, map(leaf_of, leaves), map(slot_of, places))
        yield ("HSET", part.items, *_woven(map(id_of, some.tolist()), texts)), _ENTRY * len(some)
    mortal = rows[items.ends[rows] > 0]
    for start in range(0, len(mortal), chunk):
        some = mortal[start : start + chunk]
        yield ("ZADD", part.ends, *_woven(items.ends[some].tolist(), map(id_of, some.tolist()))), _ENTRY * len(some)


def _woven(first: Iterable[Any], second: Iterable[Any]) -> Iterator[Any]:
    """One of the first, one of the second, and so on."""
    return chain.from_iterable(zip(first, second, strict=True))
