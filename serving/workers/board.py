"""The board: what each worker of a server says of itself, in memory that all of them share."""

from __future__ import annotations

import mmap
import time
from collections.abc import Callable

import numpy as np

# One row per worker. The supervisor writes `pid` and `restarts`, the worker the others; every value is written alone,
# at an aligned address, so that no reader sees half of one.
_ROW = np.dtype(
    [
        ("pid", np.int64),  # 0: there is no process
        ("restarts", np.int64),
        ("beat", np.float64),  # monotonic seconds, the same in all processes of a machine; 0 before the first
        ("connections", np.int64),
        ("version", np.int64),
        ("answers", np.int64),
        ("ready", np.int64),
        ("live", np.int64),
    ]
)


class Board:
    """Rows of the workers, by number. It has to be made before the processes are forked that share it.

    Parameters
    ----------
    workers
        How many there are.
    clock
        Monotonic clock, seconds.

    Examples
    --------
    >>> board = Board(2)
    >>> board.set_process(0, 4711)
    >>> board.set_process(1, 4712)
    >>> board.say(0, connections=3, version=7, answers=True, ready=True, live=True)
    >>> board.is_ready(0), board.is_ready(1), board.first_process()
    (True, False, 0)
    """

    def __init__(self, workers: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.workers, self._clock = workers, clock
        self._rows = np.frombuffer(mmap.mmap(-1, workers * _ROW.itemsize), _ROW)

    def set_process(self, worker: int, pid: int) -> None:
        """Set the process of a worker that was started; 0: it has ended."""
        row = self._rows[worker]
        row["answers"] = row["ready"] = row["live"] = row["connections"] = row["version"] = row["beat"] = 0
        row["pid"] = pid

    def count_restart(self, worker: int) -> None:
        """Count that a worker is started again."""
        self._rows[worker]["restarts"] += 1

    def say(self, worker: int, *, connections: int, version: int, answers: bool, ready: bool, live: bool) -> None:
        """Write what a worker says of itself now; one that `answers` from what is out of date is not `ready`."""
        row = self._rows[worker]
        row["connections"], row["version"], row["live"] = connections, version, live
        row["answers"], row["ready"] = answers, ready
        row["beat"] = self._clock()

    def set_connections(self, worker: int, connections: int) -> None:
        """Write how many connections a worker has."""
        self._rows[worker]["connections"] = connections

    def pid(self, worker: int) -> int:
        """Process of a worker; 0: there is none."""
        return int(self._rows[worker]["pid"])

    def restarts(self, worker: int) -> int:
        """How often a worker was started again."""
        return int(self._rows[worker]["restarts"])

    def connections(self, worker: int) -> int:
        """Open connections of a worker."""
        return int(self._rows[worker]["connections"])

    def version(self, worker: int) -> int:
        """Version of the index that a worker answers from; 0 before its first."""
        return int(self._rows[worker]["version"])

    def is_ready(self, worker: int) -> bool:
        """Whether a worker can answer, and what it answers from is kept up to date."""
        return bool(self._rows[worker]["pid"] and self._rows[worker]["ready"])

    def is_live(self, worker: int, within: float) -> bool:
        """Whether a worker makes progress, and has said so within so many seconds; one that starts is live."""
        row = self._rows[worker]
        if not row["pid"] or not row["beat"]:
            return True
        return bool(row["live"]) and self._clock() - float(row["beat"]) <= within

    def accepts(self) -> list[int]:
        """List the workers that take connections: those that can answer; while none can, all that run."""
        running = [worker for worker in range(self.workers) if self._rows[worker]["beat"]]
        return [worker for worker in running if self._rows[worker]["answers"]] or running

    def first_process(self) -> int:
        """Return the first worker that runs: it does what only one may do."""
        return next((worker for worker in range(self.workers) if self._rows[worker]["beat"]), 0)
