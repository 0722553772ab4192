"""The number of the layout of the keys in Redis: noted on an empty server, compared at each start, and converted."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from hsnn.streaming.errors import LayoutError
from hsnn.streaming.redis.client import Redis
from hsnn.streaming.redis.keys import LAYOUT, key, key_prefix, shard_tag


def read_layout(client: Redis, prefix: str | None = None) -> int | None:
    """Read the number of the layout, as `key` takes a `prefix`; None where there is nothing. Layout 1 has no number."""
    stored: Any = client.get(key("layout", prefix=prefix))
    if stored is not None:
        return int(stored)
    return 1 if client.exists(key("epoch", prefix=prefix)) else None


def check_layout(client: Redis) -> None:
    """Compare the layout with that of this release, and note it where there is nothing to convert.

    Raises
    ------
    LayoutError
        Another release has written, and what it wrote has to be converted.
    """
    found = read_layout(client)
    if found == LAYOUT:
        return
    if found is not None and found > LAYOUT:
        raise LayoutError(
            f"{key('layout')} is {found}, and this release knows {LAYOUT}: a newer release writes to this Redis; "
            "upgrade this process, too"
        )
    if found is not None and any(True for _ in moved_keys(client)):
        raise LayoutError(
            f"the keys in Redis have layout {found}, and this release writes {LAYOUT}: stop the trainer and the "
            "scheduler, and run `hsnn upgrade` once"
        )
    client.set(key("layout"), LAYOUT)


def moved_keys(client: Redis) -> Iterator[tuple[str, str]]:
    """Yield the names of the keys of layout 1 that have another name today, each with that name."""
    stored: Any = client.get(key("shards"))
    for shard in range(1, int(stored or 1)):
        old = f"{key_prefix()}:{{{shard}}}:"
        for name in client.scan_iter(old + "*"):
            yield name.decode(), f"{key_prefix()}:{{{shard_tag(shard)}}}:{name.decode().removeprefix(old)}"


def convert_layout(client: Redis) -> int:
    """Give all keys the names of today; return how many were moved. Nobody may write meanwhile.

    May be repeated after it was interrupted: old keys are removed once all have been copied.

    Raises
    ------
    LayoutError
        A trainer or a scheduler is at work.
    """
    if client.exists(key("lease")) or client.exists(key("trainer", "lease")):
        raise LayoutError("a trainer or a scheduler is at work; stop both, and wait ten seconds")
    moved = list(moved_keys(client))
    for old, new in moved:
        expiry: Any = client.pttl(old)
        dumped: Any = client.dump(old)
        if dumped is not None:  # else it has expired meanwhile
            client.restore(new, max(int(expiry), 0), dumped, replace=True)
    client.set(key("layout"), LAYOUT)
    for old, _ in moved:
        client.delete(old)
    return len(moved)
