"""Health of a process: live while its loops make progress, ready once it can do its work."""

from __future__ import annotations

import time
from collections.abc import Callable
from threading import Lock
from typing import Any

Detail = dict[str, Any]
"""Why a process is or is not healthy, as JSON values."""


class Health:
    """What a process knows of its own health; safe to use from several threads.

    Parameters
    ----------
    awaits
        Parts that must be `ready` before the process is. Without any, the first `ready` is enough.
    clock
        Seconds that only go forward.

    Examples
    --------
    >>> now = 0.0
    >>> health = Health("model", clock=lambda: now)
    >>> health.expect("poll", within=30)
    >>> now = 29.0
    >>> health.liveness()[0]
    True
    >>> now = 31.0
    >>> health.liveness()
    (False, {'poll': {'silent_seconds': 31.0, 'within_seconds': 30.0, 'live': False}})
    >>> health.beat("poll")
    >>> health.liveness()[0], health.readiness()
    (True, (False, {'model': False}))
    """

    def __init__(self, *awaits: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = Lock()
        self._within: dict[str, float] = {}
        self._last: dict[str, float] = {}
        self._reasons: dict[str, str] = {}
        self._ready = dict.fromkeys(awaits, False)
        self._waits: dict[str, str] = {}

    def expect(self, name: str, within: float, reason: str = "") -> None:
        """From now on the loop `name` must `beat` at least every `within` seconds; `reason`: what its silence means."""
        with self._lock:
            self._reasons[name] = reason
            self._within[name] = float(within)
            self._last[name] = self._clock()

    def stop_expecting(self, name: str) -> None:
        """Expect nothing of the loop `name` any more: it ended as it should."""
        with self._lock:
            self._within.pop(name, None)

    def beat(self, name: str) -> None:
        """Note that the loop `name` made progress."""
        with self._lock:
            self._last[name] = self._clock()

    def set_ready(self, name: str, ready: bool = True) -> None:
        """Note that the part `name` can do its work, or no longer can."""
        with self._lock:
            self._ready[name] = ready

    def set_waiting(self, what: str, why: str | None) -> None:
        """Note that the process waits for a server with `what` it does, and why; None: it goes on.

        Until then it is not ready, and live however silent its loops are: a restart would not bring the server back.

        Examples
        --------
        >>> health = Health()
        >>> health.set_ready("trainer")
        >>> health.set_waiting("reading the log", "connection refused")
        >>> health.liveness(), health.readiness()[0]
        ((True, {'waits': {'reading the log': 'connection refused'}}), False)
        >>> health.set_waiting("reading the log", None)
        >>> health.liveness(), health.readiness()[0]
        ((True, {}), True)
        """
        with self._lock:
            if why is None:
                self._waits.pop(what, None)
                self._last = dict.fromkeys(self._last, self._clock())
            else:
                self._waits[what] = why

    def liveness(self) -> tuple[bool, Detail]:
        """Whether every expected loop made progress in time, and how long each has been silent."""
        with self._lock:
            now = self._clock()
            loops = {
                name: _loop(now - self._last[name], within, self._reasons[name])
                for name, within in self._within.items()
            }
            waits = {"waits": dict(self._waits)} if self._waits else {}
        return bool(waits) or all(loop["live"] for loop in loops.values()), loops | waits

    def readiness(self) -> tuple[bool, Detail]:
        """Whether every awaited part is ready, and each part's state."""
        with self._lock:
            parts, waits = dict(self._ready), {"waits": dict(self._waits)} if self._waits else {}
        return bool(parts) and all(parts.values()) and not waits, parts | waits


def _loop(silent: float, within: float, reason: str) -> Detail:
    detail = {"silent_seconds": round(silent, 3), "within_seconds": within, "live": silent <= within}
    return detail if detail["live"] or not reason else detail | {"reason": reason}
