"""The killed process: the real training loop over the real log, with a hook that kills it at a failpoint."""

from __future__ import annotations

import logging
import os
import signal
import time
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any, NamedTuple

from benchmarks.crash.faults import inject
from benchmarks.crash.plan import ANYWHERE, PlannedKill
from hsnn.monitoring.config import MonitoringConfig
from hsnn.monitoring.process.failpoints import set_failpoint_hook
from hsnn.streaming.config import StreamingConfig
from hsnn.streaming.log.open import open_log
from hsnn.streaming.redis.client import connect
from hsnn.streaming.retry import RetryPolicy
from hsnn.trainer.config.model import TrainerConfig
from hsnn.trainer.online.loop import OnlineLoop
from hsnn.trainer.threads import use_threads

# seconds per iteration of the loop from the kill's place on, so that the log does not end before the kill
SLOW_DOWN_SECONDS = 0.1
# seconds; servers that are gone for longer ended with the test
_RETRY_SECONDS = 20.0


@dataclass(frozen=True)
class TrainerJob:
    """Configuration of a trainer, and the fault that is injected into it."""

    trainer: TrainerConfig
    streaming: StreamingConfig
    redis: str
    fault: str | None = None


class KillReport(NamedTuple):
    """Sent just before the kill: the failpoint, steps since the restart, and events since the start of the run."""

    phase: str
    steps: int
    events: int


class FinalCounts(NamedTuple):
    """Sent at the end of the log: what became of its engagement records."""

    trained: int
    dead_lettered: int
    dropped: int
    pending: int


def train(job: TrainerJob, kill: PlannedKill | None, connection: Connection) -> None:
    """Learn until the log is drained or the kill comes."""
    if len(threads := os.listdir("/proc/self/task")) > 1:
        raise RuntimeError(f"forked off a process with {len(threads)} threads; their locks may be held for ever here")
    logging.disable(logging.WARNING)
    use_threads(job.trainer.threads)
    inject(job.fault)
    retry_policy = RetryPolicy(_RETRY_SECONDS)
    log = open_log(job.streaming.log, retry_policy)
    redis = connect(job.redis)
    loop = OnlineLoop(
        job.trainer, job.streaming, MonitoringConfig(), log=log, redis=redis, digest="crash", retry_policy=retry_policy
    )
    if kill is not None and kill.phase != ANYWHERE:
        set_failpoint_hook(Killer(kill, loop, connection))
    loop.run(Drained(loop, kill))
    progress, lag = loop.progress, loop.consumer.lag()[0]
    pending = loop.consumer.pending + lag
    connection.send(FinalCounts(progress.trained, progress.dead_lettered, progress.dropped.total(), pending))
    log.close()


class Killer:
    """Kill this process by SIGKILL at the failpoint and occurrence that a `PlannedKill` names."""

    def __init__(self, kill: PlannedKill, loop: OnlineLoop, connection: Connection) -> None:
        self._kill, self._loop, self._connection = kill, loop, connection
        self._marks, self._left = 0, kill.nth

    def __call__(self, phase: str) -> None:
        self._marks += phase == "step"
        steps = self._marks // 2  # each is marked before and after
        if not steps or self._loop.progress.trained < self._kill.after or phase != self._kill.phase:
            return
        self._left -= 1
        if self._left == 0:
            self._connection.send(KillReport(phase, steps, self._loop.progress.trained))
            os.kill(os.getpid(), signal.SIGKILL)


class Drained:
    """Whether everything in the log was delivered; asked once per iteration of the loop.

    From the place of its kill on the loop is slowed down: else the log would end before all kills are done.
    """

    def __init__(self, loop: OnlineLoop, kill: PlannedKill | None) -> None:
        self._loop, self._kill, self._last = loop, kill, -1

    def __call__(self) -> bool:
        if self._kill is not None and self._loop.progress.trained >= self._kill.after:
            time.sleep(SLOW_DOWN_SECONDS)
        counts: Any = self._loop.consumer.counts
        seen = counts.delivered + counts.dead_lettered + sum(counts.dropped.values())
        still, self._last = seen == self._last, seen
        return still and self._loop.consumer.lag()[0] == 0
