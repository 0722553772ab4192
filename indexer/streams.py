"""Reading Redis streams as plain lists."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from streaming.redis_client import Redis

START = "0-0"
"""The position before the first entry of any stream."""

Fields = dict[bytes, bytes]


class Entry(NamedTuple):
    """One entry of a stream."""

    stream: str
    id: str
    fields: Fields


def read(redis: Redis, positions: Mapping[str, str], count: int = 1000, block_ms: int | None = None) -> list[Entry]:
    """Entries after `positions` ({stream: id}), at most `count` per stream; waits at most `block_ms` for the first.

    `block_ms` None does not wait. It must stay below the client's socket timeout (5 s by default).
    """
    wanted: dict[Any, Any] = dict(positions)
    found: Any = redis.xread(wanted, count=count, block=block_ms)
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
