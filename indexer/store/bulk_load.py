"""Bulk load of a new version: pipelines without MULTI, since no reader looks at the version yet."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hsnn.indexer.store import posting_lists
from hsnn.indexer.store.shards import UNINDEXED_LEAF, VersionShard, shards_of, version_shards
from hsnn.indexer.store.version import IndexBase

PIPELINE_BYTES = 4 << 20
"""Bytes after which a pipeline is sent: large enough to hide the round trip, small beside the memory of a scheduler."""

# Bytes of an entry of an item map or expiry set, about; only to know when a pipeline is full.
_ENTRY_BYTES = 40

Command = tuple[Any, ...]


class ItemColumns(NamedTuple):
    """Ids by row, and event times of expiry (rows,) in ms, 0 = never."""

    ids: Sequence[str]
    expires_at: NDArray[np.int64]


class _RecordOrder(NamedTuple):
    """Where the records of all items go.

    Attributes
    ----------
    rows : (rows,)
        In the order of their records: shard by shard, leaf by leaf.
    groups : (rows,)
        Shard and leaf of each of `rows` as one number, ``shard * (nodes + 1) + leaf``.
    slots : (rows,)
        Position of the record in its leaf, by row.
    """

    rows: NDArray[np.int64]
    groups: NDArray[np.int64]
    slots: NDArray[np.int64]


def version_commands(
    number: int, base: IndexBase, items: ItemColumns, shards: int, chunk: int
) -> Iterator[tuple[Command, int]]:
    """Generate the commands that write a version into its shards, each with its size in bytes.

    Parameters
    ----------
    number
        The version.
    base
        Its index.
    items
        Of the rows of `base`.
    shards
        Over how many shards the items are spread.
    chunk
        Entries of an item map or expiry set in one command.
    """
    nodes, width = len(base.representatives), base.vectors.shape[1]
    version = version_shards(number, range(shards))
    for shard in version:
        yield ("HSET", shard.header, "nodes", nodes, "width", width, "calls", 0), _ENTRY_BYTES
    shard_of_row = shards_of(items.ids, shards)  # (rows,)
    order = _record_order(base.nodes, shard_of_row, nodes)
    yield from _leaf_commands(version, order, base, nodes)
    for shard in version:
        # By row and not by leaf: the id strings were allocated in this order, so reading them stays in the cache.
        rows = np.flatnonzero((shard_of_row == shard.shard) & (base.nodes >= 0))
        yield from _map_commands(shard, rows, order.slots, base, items=items, chunk=chunk)


def send_commands(redis: Any, commands: Iterator[tuple[Command, int]]) -> None:
    """Send commands in pipelines of `PIPELINE_BYTES`; `redis` is a client whose values are bytes.

    Raises
    ------
    redis.ResponseError
        The server refused one.
    """
    pipeline, buffered = redis.pipeline(transaction=False), 0
    for command, size in commands:
        pipeline.execute_command(*command)
        buffered += size
        if buffered >= PIPELINE_BYTES:
            pipeline.execute()
            buffered = 0
    pipeline.execute()


def _record_order(leaf_of: NDArray[np.int32], shard_of_row: NDArray[np.int64], nodes: int) -> _RecordOrder:
    leaves = np.where(leaf_of >= 0, leaf_of, nodes)  # (rows,), `nodes` stands for UNINDEXED_LEAF
    groups = shard_of_row * (nodes + 1) + leaves  # (rows,)
    rows = np.argsort(groups, kind="stable")  # stable: within a leaf, records lie in the order of their rows
    groups = groups[rows]
    starts = np.searchsorted(groups, groups)  # (rows,), position of the first record of the same leaf
    slots = np.empty(len(rows), np.int64)
    slots[rows] = np.arange(len(rows)) - starts
    return _RecordOrder(rows, groups, slots)


def _leaf_commands(
    version: Sequence[VersionShard], order: _RecordOrder, base: IndexBase, nodes: int
) -> Iterator[tuple[Command, int]]:
    groups, starts = np.unique(order.groups, return_index=True)
    bounds = [*starts.tolist(), len(order.rows)]
    for group, (start, end) in zip(groups.tolist(), pairwise(bounds), strict=True):
        rows = order.rows[start:end]
        shard, leaf = divmod(group, nodes + 1)
        indexed = leaf < nodes
        blob = posting_lists.pack(rows if indexed else ~rows, base.vectors[rows])
        yield ("SET", version[shard].leaf_key(leaf if indexed else UNINDEXED_LEAF), blob), len(blob)


def _map_commands(
    shard: VersionShard,
    rows: NDArray[np.int64],
    slots: NDArray[np.int64],
    base: IndexBase,
    *,
    items: ItemColumns,
    chunk: int,
) -> Iterator[tuple[Command, int]]:
    """Generate the commands that write item map and expiry set of a shard: items of `rows` (n,), `slots` by row."""
    # Each number is formatted once, not once per item; map() over the lists then runs without Python frames.
    leaf_texts = [f"{leaf}:" for leaf in range(len(base.representatives))]
    slot_texts = [str(slot) for slot in range(int(slots.max(initial=-1)) + 1)]
    id_of, leaf_text, slot_text = items.ids.__getitem__, leaf_texts.__getitem__, slot_texts.__getitem__
    for start in range(0, len(rows), chunk):
        selected = rows[start : start + chunk]
        leaves, positions = base.nodes[selected].tolist(), slots[selected].tolist()
        values = map(operator.add, map(leaf_text, leaves), map(slot_text, positions))
        pairs = _interleave(map(id_of, selected.tolist()), values)
        yield ("HSET", shard.item_map, *pairs), _ENTRY_BYTES * len(selected)
    expiring = rows[items.expires_at[rows] > 0]
    for start in range(0, len(expiring), chunk):
        selected = expiring[start : start + chunk]
        pairs = _interleave(items.expires_at[selected].tolist(), map(id_of, selected.tolist()))
        yield ("ZADD", shard.expiry_set, *pairs), _ENTRY_BYTES * len(selected)


def _interleave(first: Iterable[Any], second: Iterable[Any]) -> Iterator[Any]:
    """Alternate between the values of two iterables of the same length."""
    return chain.from_iterable(zip(first, second, strict=True))
