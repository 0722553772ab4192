"""The retry policy of the product: repeat what fails while a server is unavailable, with exponential backoff."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from threading import Event
from typing import TypeVar

from redis.backoff import ExponentialBackoff
from redis.retry import Retry

_log = logging.getLogger(__name__)

# Seconds: pauses of 0.05, 0.1, 0.2, ... and at most 1. Most outages are one lost connection, so the first pause is
# short; the longest one is how late a server that is back is noticed.
BACKOFF = ExponentialBackoff(cap=1.0, base=0.025)

Result = TypeVar("Result")


class RetryPolicy:
    """Repeats calls that fail because a server is unavailable, each for a limited time; safe to share among threads.

    A call must be idempotent: when an answer is lost, nobody knows whether the call was carried out.

    Parameters
    ----------
    seconds
        Time limit of one call with all its attempts; after it, the error of the last attempt is raised.
    notify
        Called with the operation and the error text at each failure, and with the operation and None when it is over.
    log_level
        Level of the two log lines at the begin and the end of an outage.

    Examples
    --------
    >>> answers = iter([ConnectionError("connection refused"), 5])
    >>> def read():
    ...     answer = next(answers)
    ...     if isinstance(answer, Exception):
    ...         raise answer
    ...     return answer
    >>> policy = RetryPolicy(10.0, notify=lambda operation, error: print(operation, error))
    >>> policy.start()
    >>> policy.call("reading", read, (ConnectionError,))
    reading connection refused
    reading None
    5
    """

    def __init__(
        self,
        seconds: float,
        notify: Callable[[str, str | None], object] = lambda operation, error: None,  # noqa: ARG005
        *,
        log_level: int = logging.WARNING,
    ) -> None:
        self.seconds, self._notify, self._level = seconds, notify, log_level
        self._started = False
        self._stop: Callable[[], bool] = lambda: False

    def start(self, stop: Callable[[], bool] = lambda: False) -> None:
        """Retry from now on, until `stop` returns True.

        Before, a failed call raises at once: a process that starts with a wrong address must say so.
        """
        self._started, self._stop = True, stop

    def call(self, operation: str, call: Callable[[], Result], retry_on: tuple[type[Exception], ...]) -> Result:
        """Return the result of `call`, repeated while it raises an error of `retry_on`; other errors pass."""
        failed_at: float | None = None

        def decide(error: Exception) -> None:
            """Raise where no further attempt is made; redis-py pauses and repeats the call otherwise."""
            nonlocal failed_at
            now = time.monotonic()
            first, failed_at = failed_at is None, failed_at or now
            if not self._started or self._stop() or now - failed_at >= self.seconds:
                self._notify(operation, None)
                raise error
            if first:
                _log.log(self._level, f"{operation}: {error}; retrying for up to {self.seconds:g} s")
            self._notify(operation, str(error))

        # Without a limit to the number of retries: `decide` limits the time.
        result = Retry(BACKOFF, retries=-1, supported_errors=retry_on).call_with_retry(call, decide)
        if failed_at is not None:
            _log.log(self._level, "%s: succeeded after %.1f s", operation, time.monotonic() - failed_at)
            self._notify(operation, None)
        return result


class LoopBackoff:
    """Pauses for a loop that must go on: `BACKOFF` over its failures in a row, cut short when it is told to end.

    Parameters
    ----------
    stop
        Set by whoever ends the loop.

    Examples
    --------
    >>> stop = Event()
    >>> stop.set()  # so that nothing waits here
    >>> backoff = LoopBackoff(stop)
    >>> [backoff.pause() for _ in range(3)]
    [0.05, 0.1, 0.2]
    >>> backoff.reset()
    >>> backoff.pause()
    0.05
    """

    def __init__(self, stop: Event) -> None:
        self._stop, self._failures = stop, 0

    def pause(self) -> float:
        """Wait after a failure, the longer the more there were since `reset`; return the length in seconds."""
        self._failures += 1
        seconds = BACKOFF.compute(self._failures)
        self._stop.wait(seconds)
        return seconds

    def reset(self) -> None:
        """Begin with the shortest pause again: a round of the loop has succeeded."""
        self._failures = 0
