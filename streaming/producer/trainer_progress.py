"""Progress of a trainer, read from Redis: how many engagements it is done with."""

from __future__ import annotations

import json
from collections.abc import Callable

from hsnn.streaming.redis.client import connect
from hsnn.streaming.redis.keys import key


def trained_counter(url: str) -> Callable[[], int]:
    """Return a function that reads how many engagements the trainer is done with, or holds until their labels are due.

    Parameters
    ----------
    url
        Where the trainer writes its progress, ``redis://HOST:PORT/DB``. The count is 0 before its first write.
    """
    client = connect(url)
    fields = ("trained", "dead_lettered", "pending", "dropped")

    def trained_count() -> int:
        *counts, dropped = client.hmget(key("progress"), list(fields))
        reasons: dict[str, int] = json.loads(dropped or b"{}")
        return sum(int(count or 0) for count in counts) + sum(reasons.values())

    return trained_count
