"""Reading Redis streams as plain lists."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from hsnn.streaming.redis.client import Redis

START = "0-0"
"""The position before the first entry of any stream."""
_TURN_MS = 10  # how long one shard's streams are waited on before the others' are looked at

Fields = dict[bytes, bytes]


class Entry(NamedTuple):
    """One entry of a stream."""

    stream: str
    id: str
    fields: Fields


def read(redis: Redis, positions: Mapping[str, str], count: int = 1000, block_ms: int | None = None) -> list[Entry]:
    """Entries after `positions` ({stream: id}), at most `count` per stream; waits at most `block_ms` for the first.

    `block_ms` None does not wait. It must stay below the client's socket timeout (5 s by default). Streams of several
    shards are looked at in turns, since no command may read two of them: an entry may then wait for some milliseconds.
    """
    groups = _by_shard(positions)
    if len(groups) < 2:
        return _read(redis, dict(positions), count, block_ms)
    until = time.monotonic() + (block_ms or 0) / 1000
    while True:
        found = [entry for group in groups for entry in _read(redis, group, count, None)]
        left = math.ceil(1000 * (until - time.monotonic()))
        if found or left <= 0:
            return found
        if found := _read(redis, groups[0], count, min(left, _TURN_MS)):
            return found


def _by_shard(positions: Mapping[str, str]) -> list[dict[str, str]]:
    groups: dict[str, dict[str, str]] = {}
    for stream, after in positions.items():
        groups.setdefault(stream.partition("}")[0], {})[stream] = after
    return list(groups.values())


def _read(redis: Redis, positions: dict[Any, Any], count: int, block_ms: int | None) -> list[Entry]:
    found: Any = redis.xread(positions, count=count, block=block_ms)
    pairs = found.items() if isinstance(found, dict) else found
    return [Entry(name.decode(), id_.decode(), fields) for name, entries in pairs for id_, fields in entries]


def follow(redis: Redis, stream: str, after: str = START, upto: str = "+", count: int = 1000) -> Iterator[Entry]:
    """All entries after `after` and up to `upto`, read in pages, never waiting."""
    while True:
        page: Any = redis.xrange(stream, f"({after}", upto, count=count)
        for id_, fields in page:
            after = id_.decode()
            yield Entry(stream, after, fields)
        if len(page) < count:
            return


def order(entry_id: str) -> tuple[int, int]:
    """Sort ids as their stream does.

    Examples
    --------
    >>> max("9-1", "10-0", "10-2", key=order)
    '10-2'
    """
    ms, _, sequence = entry_id.partition("-")
    return int(ms), int(sequence or 0)


def last_id(redis: Redis, stream: str) -> str:
    """Id of the newest entry; `START` for a stream without one."""
    newest: Any = redis.xrevrange(stream, count=1)
    return newest[0][0].decode() if newest else START
