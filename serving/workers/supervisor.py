"""The supervisor: forks workers, replaces those that die, and ends all of them in order."""

from __future__ import annotations

import gc
import logging
import os
import select
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from typing import NamedTuple

from hsnn.monitoring.errors import user_message
from hsnn.monitoring.process.log_format import name_worker
from hsnn.monitoring.process.restart_delays import RestartDelays
from hsnn.serving.errors import ServerError
from hsnn.serving.workers.board import Board

_log = logging.getLogger(__name__)

AT_ONCE = signal.SIGUSR1
"""Signal that ends a worker without waiting for its requests. SIGTERM does not, however often it comes: service
managers send it to every process of a group, and the supervisor does, too."""

# Seconds between two looks for what is due; while the first worker starts, for which somebody waits, shorter.
_LOOK, _FIRST_LOOK = 0.5, 0.02

# Seconds that workers get to end after a signal: five for running requests, ten for a follower that waits for Redis,
# and some for events that the log has not confirmed.
_END_SECONDS = 30.0

# Bytes of the message that a worker leaves when it cannot start.
_MESSAGE_BYTES = 4096

_STOP = (signal.SIGTERM, signal.SIGINT)

Work = Callable[[int, Callable[[], None]], None]
"""What a worker does until a signal, given its number and what to call once it listens."""


class _Process(NamedTuple):
    """A worker that runs; `messages` is the end of a pipe: a line break once it listens, why it could not start."""

    pid: int
    started: float
    messages: int


class Supervisor:
    """Runs workers as forks of this process, which has no threads.

    The first one is started alone, so that what keeps workers from starting is said once; the others when it listens.

    Parameters
    ----------
    board
        Has a row for each worker.
    on_end
        Called with the number of a worker whose process has ended.
    """

    def __init__(self, board: Board, on_end: Callable[[int], None] | None = None) -> None:
        self._board, self._on_end = board, on_end
        self._processes: dict[int, _Process] = {}
        self._delays, self._due = RestartDelays(), dict.fromkeys(range(1, board.workers), 0.0)

    def run(self, work: Work, on_start: Callable[[], None], on_stop: Callable[[], None]) -> None:
        """Run workers until SIGTERM or SIGINT; a second one ends them at once.

        Parameters
        ----------
        on_start
            Called when the first worker listens.
        on_stop
            Called when the workers are to end.

        Raises
        ------
        ServerError
            The first worker ended before it listened.
        """
        gc.collect()
        gc.freeze()  # the collector would write to every object, and so copy the pages that workers share
        self._work = work
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {*_STOP, signal.SIGCHLD})
        try:
            self._mask = before
            self._start(0)
            if self._first_listens():
                on_start()
                while not self._stopped(_LOOK):
                    self._replace()
            on_stop()
        finally:
            self._end()
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def _start(self, number: int) -> None:
        read, write = os.pipe()
        pid = os.fork()
        if not pid:
            self._be_worker(number, write)
        os.close(write)
        os.set_blocking(read, False)
        self._processes[number] = _Process(pid, time.monotonic(), read)
        self._board.set_process(number, pid)

    def _be_worker(self, number: int, messages: int) -> None:
        """Work, in the forked process, and end it."""
        status = 1
        try:
            for other in self._processes.values():
                os.close(other.messages)
            name_worker(number)
            signal.pthread_sigmask(signal.SIG_SETMASK, self._mask)
            self._work(number, lambda: _tell(messages, "\n"))
            status = 0
        except BaseException as error:
            message = user_message(error)
            if message is None:
                _log.exception("the worker failed")
            _tell(messages, message or "a worker could not start; its log says why")
        finally:
            logging.shutdown()
            os._exit(status)

    def _first_listens(self) -> bool:
        """Wait until the first worker listens; False after a signal."""
        while not self._stopped(_FIRST_LOOK):
            first = self._processes[0]
            if select.select([first.messages], [], [], 0)[0]:
                message = os.read(first.messages, _MESSAGE_BYTES).decode(errors="replace")
                if message == "\n":
                    return True
                _, status = os.waitpid(first.pid, 0)
                self._forget(0)
                raise ServerError(message or f"the first worker ended before it listened, {_how(status)}")
        return False

    def _stopped(self, seconds: float) -> bool:
        """Wait for a signal; whether it is one that stops."""
        found = signal.sigtimedwait({*_STOP, signal.SIGCHLD}, seconds)
        return found is not None and found.si_signo in _STOP

    def _replace(self) -> None:
        """Notice workers that ended, and start those that are due."""
        for number, process in self._ended():
            delay = self._delays.after(number, time.monotonic() - process.started)
            self._due[number] = time.monotonic() + delay
            self._board.count_restart(number)
            _log.error("worker %d is started again %s", number, f"in {delay:g} s" if delay else "now")
        for number in [number for number, due in self._due.items() if time.monotonic() >= due]:
            del self._due[number]
            self._start(number)

    def _ended(self) -> list[tuple[int, _Process]]:
        """Return the workers that ended since the last call, and say how."""
        ended = []
        for number, process in list(self._processes.items()):
            pid, status = os.waitpid(process.pid, os.WNOHANG)
            if pid:
                why = self._forget(number)
                how = f"{_how(status)}: {why}" if why else _how(status)
                _log.error("worker %d (process %d) ended %s", number, pid, how)
                ended.append((number, process))
        return ended

    def _forget(self, number: int) -> str:
        """Forget a process that ended; return why, if it said so."""
        messages = self._processes.pop(number).messages
        try:
            return os.read(messages, _MESSAGE_BYTES).decode(errors="replace").strip()
        except BlockingIOError:
            return ""
        finally:
            os.close(messages)
            self._board.set_process(number, 0)
            if self._on_end is not None:
                self._on_end(number)

    def _end(self) -> None:
        """End the workers and wait for them: in order, at once after another signal, by force after a while."""
        self._kill(signal.SIGTERM)
        deadline = time.monotonic() + _END_SECONDS
        while self._processes:
            if self._stopped(_FIRST_LOOK):
                self._kill(AT_ONCE)
            if time.monotonic() > deadline:
                _log.error("workers %s do not end, and are killed", ", ".join(map(str, self._processes)))
                self._kill(signal.SIGKILL)
            for number, process in list(self._processes.items()):
                if os.waitpid(process.pid, os.WNOHANG)[0]:
                    self._forget(number)

    def _kill(self, number: signal.Signals) -> None:
        for process in self._processes.values():
            with suppress(ProcessLookupError):
                os.kill(process.pid, number)


def _tell(messages: int, text: str) -> None:
    with suppress(OSError):  # the supervisor is gone
        os.write(messages, text.encode()[:_MESSAGE_BYTES])


def _how(status: int) -> str:
    """Say how a process ended, of the status that `os.waitpid` returns.

    Examples
    --------
    >>> _how(9), _how(512)
    ('by signal 9', 'with status 2')
    """
    code = os.waitstatus_to_exitcode(status)
    return f"by signal {-code}" if code < 0 else f"with status {code}"
