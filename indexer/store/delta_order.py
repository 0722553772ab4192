"""The calls that wrote the deltas of a version, and how a reader of several shards gets them in their order.

Every call has a number, larger than that of all calls before it in any shard, and each of its entries carries it. A
call begins when the one before was answered. So once a reader has seen an entry of a call, all calls of smaller
numbers are in their streams: what it has not read of them yet, it reads now. What came later it leaves for next time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import takewhile

from hsnn.indexer.store.streams import Entry, follow
from hsnn.streaming.redis.client import Redis

FIELD = "c"
"""Where an entry has the number of its call."""
_PAGE = 100  # entries looked at in one go: mostly there are none


def call_of(entry: Entry) -> int:
    """Read the number of the call that wrote an entry; 0 for one that carries none."""
    return int(entry.fields.get(FIELD.encode(), 0))


def in_order(redis: Redis, found: Sequence[Entry], positions: Mapping[str, str]) -> list[Entry]:
    """Entries `found`, and those that were written between them, in the order in which they were written.

    Parameters
    ----------
    found
        What was read of the delta streams of a version, of each without a gap.
    positions
        {stream: id} of all its streams, after which that was read.
    """
    if len(positions) < 2 or not found:
        return list(found)
    newest = max(map(call_of, found))
    reached = {**positions, **{entry.stream: entry.id for entry in found}}
    missed = [
        entry
        for stream, after in reached.items()
        for entry in takewhile(lambda entry: call_of(entry) <= newest, follow(redis, stream, after, count=_PAGE))
    ]
    return sorted([*found, *missed], key=call_of)
