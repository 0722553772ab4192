"""AdoptionWatch: notice that snapshots are published and no version is made from them."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable
from typing import Any

from redis.exceptions import RedisError

from hsnn.monitoring.alarms import Alarm
from hsnn.streaming.redis.client import Redis
from hsnn.streaming.redis.keys import key
from hsnn.trainer.metrics import UNADOPTED_SECONDS

_log = logging.getLogger(__name__)

KIND = "none_adopted"
"""Kind of the alarm."""

# Seconds between two looks at Redis: the limit is minutes.
_CHECK_SECONDS = 5.0


class AdoptionWatch:
    """Compares the snapshots that were published with the one that the current version was made from.

    Parameters
    ----------
    redis
    within
        Seconds within which the scheduler should have made a version from a snapshot, or from a later one.
    clock
        Monotonic, seconds.
    """

    def __init__(self, redis: Redis, within: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._redis, self._within, self._clock = redis, within, clock
        self._published: list[tuple[int, float]] = []  # number and time of those that are not in use, oldest first
        self._checked_at = -float("inf")
        self._raised = False

    def note_published(self, snapshot: int) -> None:
        """Note that a snapshot was announced."""
        self._published.append((snapshot, self._clock()))

    def check(self, watermark: int) -> Alarm | None:
        """Look at the version in use, once in a while; return an alarm at the first look that finds it too old."""
        now = self._clock()
        if now - self._checked_at < _CHECK_SECONDS or not self._published:
            return None
        self._checked_at = now
        try:
            adopted = self._snapshot_in_use()
        except RedisError:
            return None  # the writes of the trainer notice it, and say so
        self._published = [entry for entry in self._published if entry[0] > adopted]
        age = now - self._published[0][1] if self._published else 0.0
        UNADOPTED_SECONDS.set(age)
        late = age > self._within
        alarm = self._alarm(age, adopted, watermark) if late and not self._raised else None
        self._raised = late
        return alarm

    def _snapshot_in_use(self) -> int:
        """Return the number of the snapshot that the current version was made from; 0 without a version."""
        current: Any = self._redis.get(key("current"))
        if current is None:
            return 0
        manifest: Any = self._redis.hget(key("version", current.decode()), "version")
        return int(json.loads(manifest)["snapshot"]) if manifest else 0

    def _alarm(self, age: float, adopted: int, watermark: int) -> Alarm:
        count, newest = len(self._published), self._published[-1][0]
        text = (
            f"{count} snapshots published, none adopted: the newest is {newest}, the version in use is of {adopted}; "
            "is the scheduler running, publishing held, or a version rolled back? See `hsnn index versions`"
        )
        _log.error("%s", text)
        return Alarm(
            id=f"{KIND}:{self._published[0][0]}",
            kind=KIND,
            ts=watermark,
            value=age,
            threshold=self._within,
            detail=text,
        )
