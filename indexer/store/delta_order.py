"""The order of the deltas of a version whose items are spread over several shards.

Every script call that writes deltas has a sequence number, larger than that of all calls before it in any shard, and
each entry carries the number of the call that wrote it. A call begins only after the one before was answered. So once a
reader has seen an entry of some call, the entries of all calls with smaller numbers are in their streams: it reads now
those that it has not read yet. Entries of later calls are left for next time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import takewhile

from hsnn.indexer.store.streams import StreamEntry, scan_entries
from hsnn.streaming.redis.client import Redis

SEQUENCE_FIELD = "c"
"""Field of a stream entry that holds the sequence number of the call that wrote it."""

# Entries fetched at once when another shard is scanned for missed ones: mostly there are none.
_PAGE = 100


def sequence_of(entry: StreamEntry) -> int:
    """Read the sequence number of an entry; 0 for one that carries none."""
    return int(entry.fields.get(SEQUENCE_FIELD.encode(), 0))


def in_write_order(redis: Redis, entries: Sequence[StreamEntry], positions: Mapping[str, str]) -> list[StreamEntry]:
    """Return `entries`, and those that were written between them, in the order in which they were written.

    Parameters
    ----------
    redis
        A client whose values are bytes.
    entries
        What was read of the delta streams of a version, of each stream without a gap.
    positions
        {stream: id} of all its streams, after which that was read.
    """
    if len(positions) < 2 or not entries:
        return list(entries)
    newest = max(map(sequence_of, entries))
    reached = {**positions, **{entry.stream: entry.id for entry in entries}}

    def not_newer(entry: StreamEntry) -> bool:
        return sequence_of(entry) <= newest

    missed = [
        entry
        for stream, after in reached.items()
        for entry in takewhile(not_newer, scan_entries(redis, stream, after, count=_PAGE))
    ]
    return sorted([*entries, *missed], key=sequence_of)  # stable: entries of one call stay in order
