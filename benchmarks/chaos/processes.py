"""The processes of a loop: roles that a service manager starts again, and the servers that they need."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from benchmarks.chaos.clocks import Clock
from hsnn.embedded.kafka import EmbeddedKafka
from hsnn.embedded.process import ChildServer, accepts
from hsnn.embedded.redis import EmbeddedRedis

# seconds between an end and the next start, as of a service manager
_RESTART_SECONDS = 0.5
# status that says that another process has the work
TAKEN = 3
_ENVIRONMENT: dict[str, str | None] = {"OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1", "HSNN_CONFIG": None}


class Target(Protocol):
    """A process that can be killed, stopped for a while, and whose clock can be set."""

    clock: Clock

    def kill(self) -> None:
        """End it at once (SIGKILL)."""

    def revive(self) -> None:
        """Start it again after `kill`, where nobody else does."""

    def send_signal(self, number: signal.Signals) -> None:
        """Send it a signal."""


class Role:
    """One ``hsnn`` process, started again by `tend` whenever it has ended, unless with status 3.

    Attributes
    ----------
    ends : list of int
        Exit statuses so far, kills included.
    """

    def __init__(self, name: str, arguments: Sequence[str], port: int, folder: Path, clock: Clock) -> None:
        self.name, self.port, self.clock = name, port, clock
        self.log = folder / f"{name}.log"
        self._command = [sys.executable, "-m", "hsnn", *arguments]
        self._process: ChildServer | None = None
        self._ended: float | None = None
        self.ends: list[int] = []

    @property
    def url(self) -> str:
        """Where its metrics and health are."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def running(self) -> bool:
        """Whether it was started and has not ended."""
        return self._process is not None and self._process.running

    @property
    def code(self) -> int | None:
        """Exit status; None while it runs."""
        return None if self._process is None else self._process.code

    def start(self) -> None:
        """Start it."""
        self._process, self._ended = ChildServer(self._command, self.log, _ENVIRONMENT | self.clock.environment), None

    def tend(self) -> None:
        """Start it again a moment after it has ended."""
        if self._process is None or self._process.running:
            return
        if self._ended is None:
            self._ended = time.monotonic()
            self.ends.append(self._process.code or 0)
        if self.ends[-1] != TAKEN and time.monotonic() - self._ended > _RESTART_SECONDS:
            self.start()

    def kill(self) -> None:
        """End it at once; `tend` starts it again."""
        self.send_signal(signal.SIGKILL)

    def revive(self) -> None:
        """Do nothing: `tend` does it."""

    def send_signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        if self._process is not None:
            self._process.send_signal(number)

    def stop(self) -> None:
        """End it in order."""
        if self._process is not None:
            self._process.send_signal(signal.SIGCONT)
            self._process.stop(timeout=30.0)


class Server(Target, Protocol):
    """A server that keeps its data over a kill."""

    @property
    def url(self) -> str:
        """Its address, without a user."""

    def start(self) -> None:
        """Start it."""

    def is_whole(self) -> bool:
        """Return whether it can be struck again."""

    def stop(self) -> None:
        """End it in order."""


class Backend:
    """A Redis or a Kafka broker that keeps its data over a kill."""

    def __init__(self, server: EmbeddedRedis | EmbeddedKafka, clock: Clock) -> None:
        self._server, self.clock = server, clock

    @property
    def url(self) -> str:
        """Its address, without a user."""
        return self._server.url

    def start(self) -> None:
        """Start it."""
        self._server.start()

    def is_whole(self) -> bool:
        """Return True: there is one process, and what needs it says whether it works."""
        return True

    def kill(self) -> None:
        """End it at once; it stays away until `revive`."""
        self._server.kill()

    def revive(self) -> None:
        """Start it again at the same port, with the same data."""
        while accepts(self._server.port):  # the killed one may still hold the port
            time.sleep(0.01)
        self._server.start()

    def send_signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        self._server.send_signal(number)

    def stop(self) -> None:
        """End it in order."""
        self._server.send_signal(signal.SIGCONT)
        self._server.stop()
