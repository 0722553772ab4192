"""Start again what ended by itself."""

from __future__ import annotations

import time
from collections.abc import Callable

from hsnn.demo.processes import RoleProcesses
from hsnn.monitoring.process.restart_delays import RestartDelays


class Restarts:
    """Starts processes again, at once, and later and later if they keep ending.

    Parameters
    ----------
    roles
        The processes.
    start
        Starts one of them by its name.
    report
        Called with a sentence for each end and each start.
    clock
        Monotonic seconds.

    Attributes
    ----------
    counts
        Restarts by name.
    """

    def __init__(
        self,
        roles: RoleProcesses,
        start: Callable[[str], None],
        report: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._roles, self._start, self._report, self._clock = roles, start, report, clock
        self.counts: dict[str, int] = {}
        self._due: dict[str, float] = {}
        self._delays = RestartDelays()

    def waiting(self, name: str) -> bool:
        """Whether a process has ended and is not started again yet."""
        return name in self._due

    def check(self) -> None:
        """Notice processes that ended, and start those that are due."""
        now = self._clock()
        for name, how in self._roles.ended().items():
            if name not in self._due:
                delay = self._delays.after(name, self._roles.uptime(name))
                self._due[name] = now + delay
                again = f"in {delay:g} s" if delay else "now"
                self._report(f"{name} ended {how}, and is started again {again}; its log is {self._roles.log(name)}")
            if now >= self._due[name]:
                del self._due[name]
                self.counts[name] = self.counts.get(name, 0) + 1
                self._start(name)
