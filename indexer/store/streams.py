"""Reading entries of Redis streams."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from hsnn.streaming.redis.client import Redis

STREAM_START = "0-0"
"""The position before the first entry of any stream."""

# Milliseconds of waiting for one shard's streams before those of the others are looked at: the most that an entry of
# another shard waits longer.
_WAIT_PER_SHARD_MS = 10

Fields = dict[bytes, bytes]


class StreamEntry(NamedTuple):
    """One entry of a stream."""

    stream: str
    id: str
    fields: Fields


def read_entries(
    redis: Redis, positions: Mapping[str, str], count: int = 1000, block_ms: int | None = None
) -> list[StreamEntry]:
    """Read the entries after `positions`, and wait for the first one if there are none.

    Parameters
    ----------
    redis
        A client whose values are bytes.
    positions
        {stream: id}. No command may read streams of several shards: those are read in turn, so an entry may wait for
        some milliseconds.
    count
        Most entries per stream.
    block_ms
        Most milliseconds to wait, below the client's socket timeout (5 s by default); None: do not wait.
    """
    groups = _group_by_shard(positions)
    if len(groups) < 2:
        return _read(redis, dict(positions), count, block_ms)
    deadline = time.monotonic() + (block_ms or 0) / 1000
    while True:
        entries = [entry for group in groups for entry in _read(redis, group, count, None)]
        left = math.ceil(1000 * (deadline - time.monotonic()))
        if entries or left <= 0:
            return entries
        if entries := _read(redis, groups[0], count, min(left, _WAIT_PER_SHARD_MS)):
            return entries


def _group_by_shard(positions: Mapping[str, str]) -> list[dict[str, str]]:
    groups: dict[str, dict[str, str]] = {}
    for stream, after in positions.items():
        groups.setdefault(stream.partition("}")[0], {})[stream] = after  # up to "}": the hash tag of the shard
    return list(groups.values())


def _read(redis: Redis, positions: dict[Any, Any], count: int, block_ms: int | None) -> list[StreamEntry]:
    answer: Any = redis.xread(positions, count=count, block=block_ms)
    pairs = answer.items() if isinstance(answer, dict) else answer
    return [StreamEntry(name.decode(), id_.decode(), fields) for name, entries in pairs for id_, fields in entries]


def scan_entries(
    redis: Redis, stream: str, after: str = STREAM_START, upto: str = "+", count: int = 1000
) -> Iterator[StreamEntry]:
    """Iterate over the entries after `after` and up to `upto`, in pages of `count`, without waiting for new ones."""
    while True:
        page: Any = redis.xrange(stream, f"({after}", upto, count=count)
        for id_, fields in page:
            after = id_.decode()
            yield StreamEntry(stream, after, fields)
        if len(page) < count:
            return


def entry_order(entry_id: str) -> tuple[int, int]:
    """Return the sort key of an entry's id.

    Examples
    --------
    >>> max("9-1", "10-0", "10-2", key=entry_order)
    '10-2'
    """
    ms, _, sequence = entry_id.partition("-")
    return int(ms), int(sequence or 0)


def last_id(redis: Redis, stream: str) -> str:
    """Return the id of the newest entry; `STREAM_START` for a stream without one."""
    newest: Any = redis.xrevrange(stream, count=1)
    return newest[0][0].decode() if newest else STREAM_START
