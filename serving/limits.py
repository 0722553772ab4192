"""Limits of a retrieval: items per answer, work per request, and time."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import NamedTuple

from hsnn.serving.errors import DeadlineError


class RetrievalLimits(NamedTuple):
    """Limits of a retrieval.

    Attributes
    ----------
    k : items per answer where the request has no `k`
    max_k : items per answer, at most
    beam : nodes opened; None: as the model was trained
    budget : items scored, at most; None: as the model was trained
    whole_leaves : whether every allowed item of an opened node gets a dot product; otherwise the first in merge order
    """

    k: int = 20
    max_k: int = 1000
    beam: int | None = None
    budget: int | None = None
    whole_leaves: bool = False


class Deadline:
    """Moment at which a call is given up.

    Parameters
    ----------
    seconds
        From now.
    clock
        Monotonic clock, seconds.

    Examples
    --------
    >>> now = 0.0
    >>> deadline = Deadline(5.0, clock=lambda: now)
    >>> deadline.check(0, 4)
    >>> now = 5.1
    >>> deadline.check(2, 4)
    Traceback (most recent call last):
    hsnn.serving.errors.DeadlineError: 2 of 4 queries were answered in 5 s; send fewer at once
    """

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.seconds, self._clock = seconds, clock
        self._end = clock() + seconds

    def check(self, answered: int, queries: int) -> None:
        """Raise DeadlineError if the moment has passed, with what has been answered until then."""
        if self._clock() > self._end:
            raise DeadlineError(
                f"{answered} of {queries} queries were answered in {self.seconds:g} s; send fewer at once"
            )
