"""A token bucket: so many per second."""

from __future__ import annotations

import time
from collections.abc import Callable


class TokenBucket:
    """Counts queries or events against a rate; a second's worth may be sent at once.

    A call of many is taken while anything is left, and leaves a debt that later calls wait for.

    Parameters
    ----------
    rate
        Per second.
    clock
        Monotonic clock, seconds.

    Examples
    --------
    >>> bucket = TokenBucket(2.0, clock=lambda: 0.0)
    >>> [bucket.take(1) for _ in range(3)]
    [0.0, 0.0, 0.5]
    """

    def __init__(self, rate: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.rate, self._clock = rate, clock
        self._burst = max(rate, 1.0)
        self._left, self._at = self._burst, clock()

    def take(self, count: int) -> float:
        """Take so many; return 0, or the seconds until the next may be sent, and take none."""
        now = self._clock()
        self._left = min(self._burst, self._left + (now - self._at) * self.rate)
        self._at = now
        if self._left < 1:
            return (1 - self._left) / self.rate
        self._left -= count
        return 0.0

    def charge(self, count: int) -> None:
        """Take so many of what an admitted call has used, into debt if need be."""
        self._left -= count


NewBucket = Callable[[str, float], TokenBucket]
"""Makes the bucket of a name, for a rate per second."""
