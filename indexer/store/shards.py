"""The keys of a version in one shard, and which shard an item belongs to."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from itertools import groupby
from operator import itemgetter
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from hsnn.streaming.redis.keys import key

T = TypeVar("T")

UNINDEXED_LEAF = "rest"
"""Name of the leaf that holds the vectors of items in no leaf: user histories may still refer to them."""


class VersionShard(NamedTuple):
    """Names of the keys of version `number` in `shard`; all of them lie in one slot of a Redis Cluster.

    `prefix` is as `hsnn.streaming.redis.keys.key` takes it.

    Examples
    --------
    >>> shard = VersionShard(7, 2)
    >>> shard.item_map, shard.leaf_key(12)
    ('hsnn:{2.64}:items:7', 'hsnn:{2.64}:leaf:7:12')
    """

    number: int
    shard: int
    prefix: str | None = None

    @property
    def header(self) -> str:
        """Hash of node count, vector width and last sequence number; written first, removed last."""
        return key("part", self.number, shard=self.shard, prefix=self.prefix)

    @property
    def item_map(self) -> str:
        """Hash of item id -> leaf and slot."""
        return key("items", self.number, shard=self.shard, prefix=self.prefix)

    @property
    def expiry_set(self) -> str:
        """Sorted set of the items that expire, by time of expiry."""
        return key("expiry", self.number, shard=self.shard, prefix=self.prefix)

    @property
    def delta_stream(self) -> str:
        """Stream of the changes since the version was written."""
        return key("deltas", self.number, shard=self.shard, prefix=self.prefix)

    @property
    def leaf_prefix(self) -> str:
        """Common prefix of the names of all leaves, without the colon."""
        return key("leaf", self.number, shard=self.shard, prefix=self.prefix)

    def leaf_key(self, node: int | str) -> str:
        """Name the posting list of a leaf."""
        return f"{self.leaf_prefix}:{node}"

    def leaf_keys(self, nodes: int) -> list[str]:
        """Name the posting lists of all `nodes` leaves and of `UNINDEXED_LEAF`."""
        return [self.leaf_key(node) for node in (*range(nodes), UNINDEXED_LEAF)]


def version_shards(number: int, shards: Sequence[int], prefix: str | None = None) -> list[VersionShard]:
    """Make the `VersionShard` of version `number` for each of `shards`."""
    return [VersionShard(number, shard, prefix) for shard in shards]


def shard_of(item: str, shards: int) -> int:
    """Return the shard of an item, of `shards` in all; it depends on the id alone and never changes.

    Examples
    --------
    >>> [shard_of(name, 4) for name in ("a", "b", "c", "d")], shard_of("a", 1)
    ([3, 1, 3, 0], 0)
    """
    return zlib.crc32(item.encode(errors="surrogateescape")) % shards if shards > 1 else 0


def shards_of(items: Sequence[str], shards: int) -> NDArray[np.int64]:
    """Return the shards (n,) of n items, of `shards` in all."""
    if shards == 1:
        return np.zeros(len(items), np.int64)
    return np.fromiter((shard_of(item, shards) for item in items), np.int64, len(items))


def consecutive_by_shard(values: Sequence[T], items: Sequence[str], shards: int) -> Iterator[tuple[int, list[T]]]:
    """Split `values`, one per item, into runs of consecutive items of one shard; the order is kept.

    Examples
    --------
    >>> list(consecutive_by_shard([1, 2, 3, 4], ["a", "c", "d", "b"], 4))
    [(3, [1, 2]), (0, [3]), (1, [4])]
    """
    pairs = zip(shards_of(items, shards).tolist(), values, strict=True)
    for shard, run in groupby(pairs, key=itemgetter(0)):
        yield shard, [value for _, value in run]


def group_by_shard(values: Sequence[T], items: Sequence[str], shards: int) -> Iterator[tuple[int, list[T]]]:
    """Group `values`, one per item, by shard, in ascending order; shards without values are left out."""
    groups: dict[int, list[T]] = {}
    for value, item in zip(values, items, strict=True):
        groups.setdefault(shard_of(item, shards), []).append(value)
    yield from sorted(groups.items())
