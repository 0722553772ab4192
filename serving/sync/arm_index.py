"""The index of another loop that arms of the server's experiment name, and whether it can answer."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from threading import Lock

from hsnn.monitoring.health import Detail
from hsnn.serving.mirror.mirror import Mirror

_log = logging.getLogger(__name__)

MISSING, STALE = "missing", "stale"
"""Why an arm's index does not answer: it was not loaded yet, or its states stand still."""

_WHY = {
    MISSING: "no version of it has been loaded; see whether its trainer and its scheduler run",
    STALE: "its states stand still while those of the server's own index go on; see whether its trainer runs",
}


class ArmIndex:
    """The index of another loop, in a mirror of its own, and whether it can answer.

    It is stale when its watermark stands still, behind that of the server's own index, while that one goes on.

    Parameters
    ----------
    prefix
        First part of the names of its keys.
    own
        The mirror of the server's own index.
    mirror
        Of this index; updated by a follower.
    stale_after
        Seconds of standing still.
    clock
        Monotonic clock, seconds.

    Examples
    --------
    >>> ArmIndex("challenger", Mirror(), Mirror(), stale_after=600.0).problem()
    'missing'
    """

    def __init__(
        self,
        prefix: str,
        own: Mirror,
        mirror: Mirror,
        *,
        stale_after: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.prefix, self.mirror = prefix, mirror
        self._own, self._stale_after, self._clock = own, stale_after, clock
        self._stood_at = self._own_stood_at = 0  # watermarks when it was first seen to be behind, epoch ms
        self._stood_since: float | None = None
        self._said = ""
        self._lock = Lock()

    def problem(self) -> str:
        """Return why this index cannot answer now, `MISSING` or `STALE`; empty if it can. Changes are logged."""
        with self._lock:
            problem = MISSING if not self.mirror.warm else STALE if self._is_stale() else ""
            if problem != self._said and self._own.warm:  # before, the server answers nobody
                self._say(problem)
                self._said = problem
            return problem

    def detail(self) -> Detail:
        """Describe this index for the health page."""
        problem = self.problem()
        return {"version": self.mirror.version, "ready": not problem} | ({"why": _WHY[problem]} if problem else {})

    def _is_stale(self) -> bool:
        watermark, own = self.mirror.watermark, self._own.watermark
        if watermark >= own or watermark != self._stood_at:
            self._stood_at, self._own_stood_at, self._stood_since = watermark, own, None
            return False
        if self._stood_since is None:
            self._stood_since = self._clock()
        return own > self._own_stood_at and self._clock() - self._stood_since > self._stale_after

    def _say(self, problem: str) -> None:
        if problem:
            text = "the index %r is %s: %s; the users of its arms are answered by the server's own"
            _log.warning(text, self.prefix, problem, _WHY[problem])
        else:
            _log.info("the index %r answers the users of its arms", self.prefix)
