"""How far this process's wall clock is from that of Redis, which all processes share."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any

from redis.exceptions import RedisError

from hsnn.streaming.redis.client import Redis

_log = logging.getLogger(__name__)

# Seconds between two measurements: a clock that is set is seen by the next scrape, at the cost of a call.
_INTERVAL = 5.0

# Seconds beyond which clocks do not differ by drift: one of them was set.
_WRONG = 60.0


def seconds_ahead(redis: Redis) -> float:
    """Measure how far this process's wall clock is ahead of that of Redis, negative: behind it."""
    before = time.time()
    answer: Any = redis.time()
    after = time.time()
    seconds, microseconds = next(iter(answer.values())) if isinstance(answer, dict) else answer
    return float((before + after) / 2 - int(seconds) - int(microseconds) / 1e6)


class ClockWatch:
    """Measure now and then how far the wall clock is ahead of that of Redis; log when it becomes wrong, and right.

    Parameters
    ----------
    redis
        A client of its own or one that may be used by this thread.
    report
        Called with the seconds of each measurement.
    clock
        Monotonic, seconds.
    """

    def __init__(
        self, redis: Redis, report: Callable[[float], object], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._redis, self._report, self._clock = redis, report, clock
        self._due, self._wrong = clock(), False

    def check(self) -> None:
        """Measure if it is time to; a Redis that does not answer, or not this, is asked again later."""
        if self._clock() < self._due:
            return
        self._due = self._clock() + _INTERVAL
        try:
            ahead = seconds_ahead(self._redis)
        except RedisError:
            return
        self._report(ahead)
        if self._wrong != (wrong := abs(ahead) > _WRONG):
            self._wrong = wrong
            _log.warning(
                "the wall clock is %.0f s %s that of Redis%s",
                abs(ahead),
                "behind" if ahead < 0 else "ahead of",
                "; run NTP on both machines" if wrong else ": they agree again",
            )
