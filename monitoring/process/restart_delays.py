"""How long to wait before a process is started again: not at all at first, then longer and longer."""

from __future__ import annotations

from collections.abc import Hashable

# Seconds before a process is started again that ended soon after its start; doubled each time.
_FIRST_DELAY = 1.0

# Longest delay, seconds: a cause that is removed meanwhile is noticed soon.
_LONGEST_DELAY = 30.0

# Seconds that a process has to run for, so that its next end is not taken for the same fault.
_STEADY_SECONDS = 60.0


class RestartDelays:
    """Delays by process.

    Examples
    --------
    >>> delays = RestartDelays()
    >>> [delays.after("server", uptime=2.0) for _ in range(4)], delays.after("server", uptime=3600.0)
    ([0.0, 1.0, 2.0, 4.0], 0.0)
    """

    def __init__(self) -> None:
        self._delays: dict[Hashable, float] = {}

    def after(self, process: Hashable, uptime: float) -> float:
        """Return the delay, seconds, after a process has ended that ran for `uptime` seconds."""
        delay = 0.0 if uptime >= _STEADY_SECONDS else self._delays.get(process, 0.0)
        self._delays[process] = min(max(2 * delay, _FIRST_DELAY), _LONGEST_DELAY)
        return delay
