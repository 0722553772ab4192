"""Run a child process that cannot outlive its parent."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path


class EmbeddedError(RuntimeError):
    """An embedded server is missing something, or did not start."""


# The shell holds the read end of a pipe whose write end only the parent has: when the parent ends, however it ends
# (SIGKILL too), `cat` sees the end of the file and the server is told to stop. Portable, and unlike Linux's parent
# death signal not bound to the thread that started the child.
_WATCH = """
exec 3<&0
"$@" 3<&- </dev/null & server=$!
{ cat <&3 >/dev/null; kill -TERM $server; } 2>/dev/null & watch=$!
wait $server; code=$?
kill $watch 2>/dev/null
exit $code
"""


def free_port() -> int:
    """Return a TCP port of loopback that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def accepts(port: int) -> bool:
    """Return whether a server listens on this port of loopback."""
    with socket.socket() as probe:
        probe.settimeout(0.5)
        return probe.connect_ex(("127.0.0.1", port)) == 0


class ChildServer:
    """A server process that ends with its parent, does not see the parent's Ctrl+C, and logs to a file.

    Parameters
    ----------
    command
        Program and arguments.
    log
        Where its standard output and error are appended.
    env
        Changes of this process's environment; None takes a variable out.
    """

    def __init__(self, command: Sequence[str], log: Path, env: Mapping[str, str | None] | None = None) -> None:
        self.log = log
        changed = {name: value for name, value in {**os.environ, **(env or {})}.items() if value is not None}
        with log.open("ab") as out:
            self._process = subprocess.Popen(  # noqa: S603
                ["/bin/sh", "-c", _WATCH, "sh", *command],
                stdin=subprocess.PIPE,
                stdout=out,
                stderr=out,
                env=changed,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        """Process id of the shell around the server, which leads a group of their own."""
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether the server has not ended."""
        return self._process.poll() is None

    @property
    def code(self) -> int | None:
        """Exit status, negative for a signal as in `subprocess`; None while it runs."""
        code = self._process.poll()
        return 128 - code if code is not None and code > 128 else code  # the shell says 128 + signal

    def wait_for_port(self, port: int, timeout: float) -> None:
        """Return as soon as the server accepts connections.

        Raises
        ------
        EmbeddedError
            It ended before, or took longer than `timeout` seconds; the message carries the end of its log.
        """
        deadline = time.monotonic() + timeout
        while not (accepts(port) and self.running):
            if not self.running or time.monotonic() > deadline:
                what = f"did not accept connections within {timeout:g} s" if self.running else "ended at once"
                raise EmbeddedError(f"the server on port {port} {what}; the end of {self.log}:\n{self.log_tail()}")
            time.sleep(0.01)

    def log_tail(self, size: int = 2000) -> str:
        """Return the last `size` bytes of what the server wrote."""
        return self.log.read_bytes()[-size:].decode(errors="replace")

    def stop(self, timeout: float = 10.0) -> None:
        """End the server: SIGTERM, and SIGKILL after `timeout` seconds. Safe to call twice."""
        self.terminate()
        try:
            self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.kill()
            self._process.wait()

    def terminate(self) -> None:
        """Ask the server to end (SIGTERM), without waiting for it."""
        if self._process.stdin and not self._process.stdin.closed:
            self._process.stdin.close()

    def kill(self) -> None:
        """End the server at once (SIGKILL), without waiting for it."""
        self.send_signal(signal.SIGKILL)

    def send_signal(self, number: signal.Signals) -> None:
        """Send a signal to the server, unless it has ended."""
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, number)
