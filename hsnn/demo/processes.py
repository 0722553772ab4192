"""Start, supervise and stop the processes of the roles."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from hsnn.config.loader import ENV_PREFIX, OTHER_VARIABLES
from hsnn.embedded.process import ChildServer
from hsnn.monitoring.errors import HsnnError

# Bytes of a log's end in an error message: about a screen.
_LOG_TAIL_BYTES = 1500

# Seconds between two looks at the processes.
_POLL_SECONDS = 0.05


class RoleProcessError(HsnnError):
    """A process ended by itself, or was not ready in time; the message has the end of its log."""


class RoleProcesses:
    r"""Processes ``python -m hsnn ...`` that end with this one, however it ends; Ctrl+C does not reach them by itself.

    Parameters
    ----------
    folder
        Where each role's standard output and error go, ``NAME.log``.
    environment
        Added to this process's, without the configuration variables: the roles read the configuration file only.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     roles = RoleProcesses(Path(folder))
    ...     roles.start("version", ["version"], ends=True)
    ...     roles.wait_until(lambda: not roles.names, "the version", timeout=60.0)
    ...     roles.log("version").read_text()
    'hsnn 0.1.0\n'
    """

    def __init__(self, folder: Path, environment: Mapping[str, str] | None = None) -> None:
        self._folder = folder
        configuring: dict[str, str | None] = {name: None for name in os.environ if _is_configuration(name)}
        self._environment = configuring | dict(environment or {})
        self._running: dict[str, ChildServer] = {}
        self._started: dict[str, float] = {}
        self._finite: set[str] = set()

    @property
    def names(self) -> list[str]:
        """Names of the running processes, in order of their start."""
        return list(self._running)

    def log(self, name: str) -> Path:
        """File with the standard output and error of a role."""
        return self._folder / f"{name}.log"

    def start(
        self, name: str, arguments: Sequence[str], *, ends: bool = False, program: Sequence[str] = ("-m", "hsnn")
    ) -> None:
        """Start a process, this Python with `program` and `arguments`; one that `ends` may exit with status 0."""
        command = [sys.executable, *program, *arguments]
        self._running[name] = ChildServer(command, self.log(name), self._environment)
        self._started[name] = time.monotonic()
        if ends:
            self._finite.add(name)

    def check(self) -> None:
        """Check every process; forget one that ended and was allowed to.

        Raises
        ------
        RoleProcessError
            A process failed, or ended and must not.
        """
        for name, how in self.ended().items():
            process = self._running[name]
            said = process.log_tail(_LOG_TAIL_BYTES).rstrip() or "(it said nothing)"
            raise RoleProcessError(f"{name} ended by itself {how}; the end of {process.log}:\n{said}")

    def ended(self) -> dict[str, str]:
        """Return how each process ended that failed, or must not end; forget one that ended and was allowed to."""
        ended = {}
        for name, process in list(self._running.items()):
            if process.running:
                continue
            if process.code or name not in self._finite:
                seconds = time.monotonic() - self._started[name]
                ended[name] = f"{_exit_reason(process.code or 0)} after {seconds:.1f} s"
            else:
                del self._running[name]
        return ended

    def uptime(self, name: str) -> float:
        """Seconds since the last start of a process."""
        return time.monotonic() - self._started[name]

    def wait_until(
        self, done: Callable[[], bool], what: str, timeout: float, stop: Callable[[], bool] = lambda: False
    ) -> None:
        """Wait until `done` or `stop` returns True, checking all processes.

        Raises
        ------
        RoleProcessError
            A process ended, or it took longer than `timeout` seconds.
        """
        deadline = time.monotonic() + timeout
        while not (stop() or done()):
            self.check()
            if time.monotonic() > deadline:
                raise RoleProcessError(f"waited {timeout:g} s for {what}; the logs are in {self._folder}")
            time.sleep(_POLL_SECONDS)

    def end(self, timeout: float = 10.0) -> None:
        """Stop all processes: SIGTERM to all, SIGKILL after `timeout` seconds. Safe to call twice."""
        for process in self._running.values():
            process.terminate()
        deadline = time.monotonic() + timeout
        for process in self._running.values():
            process.stop(max(deadline - time.monotonic(), 0.05))
        self._running.clear()

    def kill(self) -> None:
        """Kill all processes, without waiting."""
        for process in list(self._running.values()):
            process.kill()


def _exit_reason(code: int) -> str:
    return f"by signal {-code}" if code < 0 else f"with exit status {code}"


def _is_configuration(variable: str) -> bool:
    return variable.upper().startswith(ENV_PREFIX) and variable.upper() not in OTHER_VARIABLES - {"HSNN_CONFIG"}
