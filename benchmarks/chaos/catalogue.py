"""The index against the ledger: which items are in it, which have gone before their end, which have outlived it."""

from __future__ import annotations

import time
from collections.abc import Mapping

from redis.exceptions import RedisError

from hsnn.indexer.store.reader import IndexReader
from hsnn.streaming.redis.client import Redis

# milliseconds before an end within which an item may be gone: clocks and sweeps are not of one moment
_MARGIN = 3000


def items_of(client: Redis) -> set[str] | None:
    """Return the items of the version in use; None: there is none, or Redis does not answer."""
    try:
        reader = IndexReader(client)
        version = reader.current()
        return None if version is None else set(reader.item_nodes(version))
    except RedisError:
        return None


def gone_early(before: set[str], now: set[str], ends: Mapping[str, int], at: int | None = None) -> set[str]:
    """Return the items that were in the index, and have left it though their end is still to come.

    Parameters
    ----------
    ends : id -> epoch ms, 0 = never
    at
        Epoch ms, of `now`; None: now.

    Examples
    --------
    >>> sorted(gone_early({"a", "b", "c"}, {"c"}, {"a": 0, "b": 5_000, "c": 0}, at=4_000))
    ['a']
    """
    at = time.time_ns() // 1_000_000 if at is None else at
    return {item for item in before - now if item in ends and (not ends[item] or ends[item] > at + _MARGIN)}
