"""Names of Redis keys: ``hsnn:{shard}:name``; the braces keep a shard's keys in one slot of a Redis Cluster."""

from __future__ import annotations


def key(*parts: str | int, shard: int = 0) -> str:
    """Build the name of a key from its parts.

    Examples
    --------
    >>> key("version", 7)
    'hsnn:{0}:version:7'
    """
    return ":".join((f"hsnn:{{{shard}}}", *map(str, parts)))
