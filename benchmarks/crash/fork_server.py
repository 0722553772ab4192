"""Trainer processes, forked off a process that has imported everything once and has a single thread.

Each is a process with memory of its own, as one started by hand is; what it is spared is the import of torch.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from contextlib import suppress
from typing import NamedTuple

from benchmarks.crash.child import FinalCounts, KillReport, TrainerJob, train
from benchmarks.crash.plan import ANYWHERE, PlannedKill

os.environ["OMP_NUM_THREADS"] = "1"  # a process with threads of its own cannot be forked off safely
_forks = multiprocessing.get_context("forkserver")
_IMPORTED = (
    "benchmarks.crash.child",
    "hsnn.streaming.log.kafka.log",
    "hsnn.streaming.log.redis.log",
)
_forks.set_forkserver_preload(list(_IMPORTED))
# seconds; a trainer that takes longer hangs
_TIMEOUT = 600.0


class TrainerFailedError(Exception):
    """A trainer ended by itself, or by somebody else; it is no crash that was asked for."""


class TrainerEnd(NamedTuple):
    """How a trainer's process ended: by the kill (at the phase it died in), or at the end of the log."""

    seconds: float
    died: KillReport | None
    ended: FinalCounts | None


def run(job: TrainerJob, kill: PlannedKill | None) -> TrainerEnd:
    """Start a trainer and wait until it is dead or done.

    Raises
    ------
    TrainerFailedError
        It ended in another way.
    """
    ours, theirs = _forks.Pipe(duplex=False)
    process = _forks.Process(target=train, args=(job, kill, theirs), daemon=True)
    started = time.monotonic()
    process.start()
    theirs.close()
    if kill is not None and kill.phase == ANYWHERE:
        process.join(kill.seconds)
        process.kill()
    process.join(_TIMEOUT)
    if process.is_alive():
        process.kill()
        raise TrainerFailedError(f"a trainer did not end within {_TIMEOUT:g} s; it was to die at {kill}")
    seconds = time.monotonic() - started
    with ours, suppress(EOFError):  # nothing was said
        return _outcome(seconds, process.exitcode, ours.recv(), kill)
    return _outcome(seconds, process.exitcode, None, kill)


def _outcome(
    seconds: float, code: int | None, said: KillReport | FinalCounts | None, kill: PlannedKill | None
) -> TrainerEnd:
    if isinstance(said, FinalCounts) and code == 0:
        return TrainerEnd(seconds, None, said)
    if code == -signal.SIGKILL and kill is not None:
        if isinstance(said, KillReport):
            return TrainerEnd(seconds, said, None)
        if kill.phase == ANYWHERE:
            return TrainerEnd(seconds, KillReport(ANYWHERE, 0, 0), None)
    raise TrainerFailedError(f"a trainer ended with status {code}, said {said}; it was to die at {kill}")
