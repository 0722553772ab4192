"""Roles as processes: started in an order, watched, ended together."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from hsnn.config.loader import ENV_PREFIX, OTHER_VARIABLES
from hsnn.embedded.process import ChildServer
from hsnn.monitoring.errors import HsnnError

_TAIL = 1500  # bytes of a log that are shown
_POLL = 0.05


class RoleError(HsnnError):
    """A role ended by itself, or was not ready in time; the text shows the end of its log."""


class Roles:
    r"""Processes ``python -m hsnn ...`` that end with this one, however it ends; Ctrl+C does not reach them by itself.

    Parameters
    ----------
    folder
        Where each role's standard output and error go, ``NAME.log``.
    environment
        Added to this process's; the configuration's own variables are left out, so that the roles read one file alone.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     roles = Roles(Path(folder))
    ...     roles.start("version", ["version"], ends=True)
    ...     roles.until(lambda: not roles.names, "the version", timeout=60.0)
    ...     roles.log("version").read_text()
    'hsnn 0.1.0\n'
    """

    def __init__(self, folder: Path, environment: Mapping[str, str] | None = None) -> None:
        self._folder = folder
        configuring: dict[str, str | None] = {name: None for name in os.environ if _configures(name)}
        self._environment = configuring | dict(environment or {})
        self._running: dict[str, ChildServer] = {}
        self._started: dict[str, float] = {}
        self._finite: set[str] = set()

    @property
    def names(self) -> list[str]:
        """Roles that were started and not ended, in order."""
        return list(self._running)

    def log(self, name: str) -> Path:
        """File with the standard output and error of a role."""
        return self._folder / f"{name}.log"

    def start(
        self, name: str, arguments: Sequence[str], *, ends: bool = False, program: Sequence[str] = ("-m", "hsnn")
    ) -> None:
        """Start a role: this Python with `program` and `arguments`; one that `ends` may do so, with exit status 0."""
        command = [sys.executable, *program, *arguments]
        self._running[name] = ChildServer(command, self.log(name), self._environment)
        self._started[name] = time.monotonic()
        if ends:
            self._finite.add(name)

    def check(self) -> None:
        """Look at every role; one that ended as it may is watched no more.

        Raises
        ------
        RoleError
            One has ended that must not, or failed.
        """
        for name, process in list(self._running.items()):
            if process.running:
                continue
            if process.code or name not in self._finite:
                seconds = time.monotonic() - self._started[name]
                said = process.log_tail(_TAIL).rstrip() or "(it said nothing)"
                how = _how(process.code or 0)
                raise RoleError(
                    f"{name} ended by itself {how} after {seconds:.1f} s; the end of {process.log}:\n{said}"
                )
            del self._running[name]

    def until(
        self, done: Callable[[], bool], what: str, timeout: float, stop: Callable[[], bool] = lambda: False
    ) -> None:
        """Wait until `done` or `stop` says True, watching all roles.

        Raises
        ------
        RoleError
            A role ended, or it took longer than `timeout` seconds.
        """
        deadline = time.monotonic() + timeout
        while not (stop() or done()):
            self.check()
            if time.monotonic() > deadline:
                raise RoleError(f"waited {timeout:g} s for {what}; the logs are in {self._folder}")
            time.sleep(_POLL)

    def end(self, timeout: float = 10.0) -> None:
        """End all roles: ask all of them, wait, then insist. Safe to call twice."""
        for process in self._running.values():
            process.terminate()
        deadline = time.monotonic() + timeout
        for process in self._running.values():
            process.stop(max(deadline - time.monotonic(), 0.05))
        self._running.clear()

    def kill(self) -> None:
        """End all roles at once, without waiting."""
        for process in list(self._running.values()):
            process.kill()


def _how(code: int) -> str:
    return f"by signal {-code}" if code < 0 else f"with exit status {code}"


def _configures(variable: str) -> bool:
    return variable.upper().startswith(ENV_PREFIX) and variable.upper() not in OTHER_VARIABLES - {"HSNN_CONFIG"}
