"""Liveness and readiness of a process: live while its loops make progress, ready once all its parts can work."""

from __future__ import annotations

import time
from collections.abc import Callable
from threading import Lock
from typing import Any

Detail = dict[str, Any]
"""Why a process is or is not healthy, as JSON values."""


class Health:
    """Heartbeats of loops and readiness of parts of this process; thread-safe.

    Parameters
    ----------
    awaits
        Parts that must be set ready before the process is. Without any, one `set_ready` is enough.
    clock
        Monotonic clock, seconds.

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
        self._problems: dict[str, str] = {}
        self._described: dict[str, Callable[[], Detail]] = {}

    def expect(self, name: str, within: float, reason: str = "") -> None:
        """Require a `beat` of the loop `name` every `within` seconds from now on; `reason` explains a missing one."""
        with self._lock:
            self._reasons[name] = reason
            self._within[name] = float(within)
            self._last[name] = self._clock()

    def stop_expecting(self, name: str) -> None:
        """Require no more beats of the loop `name`: it has ended as intended."""
        with self._lock:
            self._within.pop(name, None)

    def beat(self, name: str) -> None:
        """Record a heartbeat of the loop `name`: it has made progress."""
        with self._lock:
            self._last[name] = self._clock()

    def set_ready(self, name: str, ready: bool = True) -> None:
        """Set whether the part `name` can do its work."""
        with self._lock:
            self._ready[name] = ready

    def set_waiting(self, what: str, why: str | None) -> None:
        """Set that the operation `what` waits for a server, and why; None: it no longer waits.

        A waiting process is not ready, but live without heartbeats: a restart would not bring the server back.

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

    def set_problem(self, what: str, why: str | None) -> None:
        """Set what cannot be done, why, and what to do about it; None: it can be done again.

        A process with a problem goes on with the rest: it is live, but not ready.

        Examples
        --------
        >>> health = Health("trainer")
        >>> health.set_ready("trainer")
        >>> health.set_problem("checkpoints", "the disk is full: make room")
        >>> health.readiness()
        (False, {'trainer': True, 'problems': {'checkpoints': 'the disk is full: make room'}})
        >>> health.set_problem("checkpoints", None)
        >>> health.readiness()[0]
        True
        """
        with self._lock:
            if why is None:
                self._problems.pop(what, None)
            else:
                self._problems[what] = why

    def describe(self, name: str, detail: Callable[[], Detail]) -> None:
        """Show under `readiness` what does not decide it: `detail` is called for every look.

        Examples
        --------
        >>> health = Health()
        >>> health.set_ready("server")
        >>> health.describe("indexes", lambda: {"challenger": {"ready": False}})
        >>> health.readiness()
        (True, {'server': True, 'indexes': {'challenger': {'ready': False}}})
        """
        with self._lock:
            self._described[name] = detail

    def liveness(self) -> tuple[bool, Detail]:
        """Return whether every expected loop had a heartbeat in time, and the time since each one's last."""
        with self._lock:
            now = self._clock()
            loops = {
                name: _loop_detail(now - self._last[name], within, self._reasons[name])
                for name, within in self._within.items()
            }
            waits = {"waits": dict(self._waits)} if self._waits else {}
        return bool(waits) or all(loop["live"] for loop in loops.values()), loops | waits

    def readiness(self) -> tuple[bool, Detail]:
        """Return whether all parts are ready, and the state of each."""
        with self._lock:
            parts, waits = dict(self._ready), {"waits": dict(self._waits)} if self._waits else {}
            problems = {"problems": dict(self._problems)} if self._problems else {}
            described = dict(self._described)
        ready = bool(parts) and all(parts.values()) and not (waits or problems)
        return ready, parts | waits | problems | {name: detail() for name, detail in described.items()}


def _loop_detail(silent: float, within: float, reason: str) -> Detail:
    detail = {"silent_seconds": round(silent, 3), "within_seconds": within, "live": silent <= within}
    return detail if detail["live"] or not reason else detail | {"reason": reason}
