"""The part of a version that lies in one shard: its keys, and which items are in it."""

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

REST = "rest"
"""The leaf of items that are in none: their vectors are kept for the histories that name them."""


class Part(NamedTuple):
    """Names of the keys of version `number` in `shard`; all of them lie in one slot of a Redis Cluster.

    Examples
    --------
    >>> part = Part(7, 2)
    >>> part.items, part.leaf(12)
    ('hsnn:{2}:items:7', 'hsnn:{2}:leaf:7:12')
    """

    number: int
    shard: int

    @property
    def head(self) -> str:
        """What the part is like; the first of its keys to be written, the last to be removed."""
        return key("part", self.number, shard=self.shard)

    @property
    def items(self) -> str:
        """Item id -> leaf and place in it."""
        return key("items", self.number, shard=self.shard)

    @property
    def ends(self) -> str:
        """Items by the end of their life, those that have one."""
        return key("expiry", self.number, shard=self.shard)

    @property
    def deltas(self) -> str:
        """What changed since the version was written."""
        return key("deltas", self.number, shard=self.shard)

    @property
    def leaves(self) -> str:
        """What the names of all leaves begin with."""
        return key("leaf", self.number, shard=self.shard)

    def leaf(self, node: int | str) -> str:
        """Name the posting of a leaf."""
        return f"{self.leaves}:{node}"

    def all_leaves(self, nodes: int) -> list[str]:
        """Names of the postings of all `nodes` leaves, and of `REST`."""
        return [self.leaf(node) for node in (*range(nodes), REST)]


def parts_of(number: int, shards: Sequence[int]) -> list[Part]:
    """Parts of a version in some shards."""
    return [Part(number, shard) for shard in shards]


def shard_of(item: str, shards: int) -> int:
    """Shard of an item among so many: it depends on the id alone, and never changes.

    Examples
    --------
    >>> [shard_of(name, 4) for name in ("a", "b", "c", "d")], shard_of("a", 1)
    ([3, 1, 3, 0], 0)
    """
    return zlib.crc32(item.encode(errors="surrogateescape")) % shards if shards > 1 else 0


def spread(items: Sequence[str], shards: int) -> NDArray[np.int64]:
    """Shards of many items, (n,)."""
    if shards == 1:
        return np.zeros(len(items), np.int64)
    return np.fromiter((shard_of(item, shards) for item in items), np.int64, len(items))


def runs(of: Sequence[T], items: Sequence[str], shards: int) -> Iterator[tuple[int, list[T]]]:
    """Things of some items in their order, in runs of one shard each.

    Examples
    --------
    >>> list(runs([1, 2, 3, 4], ["a", "c", "d", "b"], 4))
    [(3, [1, 2]), (0, [3]), (1, [4])]
    """
    pairs = zip(spread(items, shards).tolist(), of, strict=True)
    for shard, run in groupby(pairs, key=itemgetter(0)):
        yield shard, [thing for _, thing in run]


def by_shard(of: Sequence[T], items: Sequence[str], shards: int) -> Iterator[tuple[int, list[T]]]:
    """Things of some items, shard by shard, in their order; shards without any are left out."""
    groups: dict[int, list[T]] = {}
    for thing, item in zip(of, items, strict=True):
        groups.setdefault(shard_of(item, shards), []).append(thing)
    yield from sorted(groups.items())
