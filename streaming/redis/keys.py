"""Names of Redis keys: ``PREFIX:{TAG}:name``; the braces keep a shard's keys in one slot of a Redis Cluster."""

from __future__ import annotations

from functools import cache
from itertools import count

from redis.crc import key_slot

LAYOUT = 3
"""Number of the names and encodings of the keys; a release that changes them has a larger one."""

DEFAULT_PREFIX = "hsnn"
"""First part of all names, unless `use_prefix` sets another."""

PREFIX_PATTERN, LONGEST_PREFIX = r"^[A-Za-z0-9_.-]+$", 64
"""What a prefix consists of, and the most characters that it has."""

# Hash slots of a Redis Cluster; its nodes hold ranges of them.
_SLOTS = 16_384

# Share of all slots between those of two successive shards: by the golden ratio, any number of them is spread evenly.
_STEP = (5**0.5 - 1) / 2

# Slots by which a shard may miss its place: a search of 128 names on average, far less than a node holds.
_TOLERANCE = 64

_prefix = DEFAULT_PREFIX


def use_prefix(prefix: str) -> None:
    """Set the first part of the names of all keys of this process: that of one catalogue among several on a Redis."""
    global _prefix
    _prefix = prefix


def key_prefix() -> str:
    """Return the first part of the names of all keys."""
    return _prefix


def key(*parts: str | int, shard: int = 0, prefix: str | None = None) -> str:
    """Build the name of a key from its parts; `prefix` is that of another catalogue than this process's.

    Examples
    --------
    >>> key("version", 7), key("current", prefix="challenger")
    ('hsnn:{0}:version:7', 'challenger:{0}:current')
    """
    return ":".join((f"{_prefix if prefix is None else prefix}:{{{shard_tag(shard)}}}", *map(str, parts)))


@cache
def shard_tag(shard: int) -> str:
    """Name a shard so that the slots of any number of them cover a cluster's nodes evenly.

    Examples
    --------
    >>> [shard_tag(shard) for shard in range(4)]
    ['0', '1.73', '2.64', '3.163']
    >>> sorted(key_slot(shard_tag(shard).encode()) * 3 // 16_384 for shard in range(3))  # of three equal nodes
    [0, 1, 2]
    """
    first = key_slot(b"0")
    if shard == 0:
        return "0"
    place = (first + round(shard * _STEP * _SLOTS)) % _SLOTS
    return next(
        tag for tag in (f"{shard}.{number}" for number in count()) if abs(key_slot(tag.encode()) - place) <= _TOLERANCE
    )
