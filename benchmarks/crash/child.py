"""The trainer's process: the real loop over the real log, with a hook that kills it where it is told to."""

from __future__ import annotations

import logging
import os
import signal
import time
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any, NamedTuple

from benchmarks.crash.faults import plant
from benchmarks.crash.plan import ANYWHERE, Kill
from hsnn.monitoring.config import MonitoringConfig
from hsnn.monitoring.process.failpoints import on_phase
from hsnn.streaming.config import StreamingConfig
from hsnn.streaming.log.open import open_log
from hsnn.streaming.redis.client import connect
from hsnn.streaming.retry import RetryPolicy
from hsnn.trainer.config.model import TrainerConfig
from hsnn.trainer.online.loop import Loop
from hsnn.trainer.threads import use_threads

_PACE = 0.1
_RETRY_SECONDS = 20.0  # seconds; servers that are gone for longer went with the harness


@dataclass(frozen=True)
class Orders:
    """What a trainer is to do, and where it is to die."""

    trainer: TrainerConfig
    streaming: StreamingConfig
    redis: str
    fault: str | None = None


class Died(NamedTuple):
    """Said just before the kill: where, after how many steps of this incarnation and events of the run."""

    phase: str
    steps: int
    events: int


class Ended(NamedTuple):
    """Said at the end of the log: what became of its engagement records."""

    trained: int
    dead_lettered: int
    dropped: int
    pending: int


def train(orders: Orders, kill: Kill | None, tell: Connection) -> None:
    """Learn until the log is drained or the kill comes."""
    if len(threads := os.listdir("/proc/self/task")) > 1:
        raise RuntimeError(f"forked off a process with {len(threads)} threads; their locks may be held for ever here")
    logging.disable(logging.WARNING)
    use_threads(orders.trainer.threads)
    plant(orders.fault)
    patience = RetryPolicy(_RETRY_SECONDS)
    log = open_log(orders.streaming.log, patience)
    redis = connect(orders.redis)
    loop = Loop(orders.trainer, orders.streaming, MonitoringConfig(), log, redis, "crash", retry_policy=patience)
    if kill is not None and kill.phase != ANYWHERE:
        on_phase(Killer(kill, loop, tell))
    loop.run(Drained(loop, kill))
    progress, lag = loop.progress, loop.consumer.lag()[0]
    pending = loop.consumer.pending + lag
    tell.send(Ended(progress.trained, progress.dead_lettered, progress.dropped.total(), pending))
    log.close()


class Killer:
    """Ends this process by SIGKILL at the occurrence of a phase that a `Kill` names."""

    def __init__(self, kill: Kill, loop: Loop, tell: Connection) -> None:
        self._kill, self._loop, self._tell = kill, loop, tell
        self._marks, self._left = 0, kill.nth

    def __call__(self, phase: str) -> None:
        self._marks += phase == "step"
        steps = self._marks // 2  # each is marked before and after
        if not steps or self._loop.progress.trained < self._kill.after or phase != self._kill.phase:
            return
        self._left -= 1
        if self._left == 0:
            self._tell.send(Died(phase, steps, self._loop.progress.trained))
            os.kill(os.getpid(), signal.SIGKILL)


class Drained:
    """Whether everything in the log was delivered; asked once per turn of the loop.

    From the place of its kill on the loop takes its time: else the log would end before all kills are done.
    """

    def __init__(self, loop: Loop, kill: Kill | None) -> None:
        self._loop, self._kill, self._last = loop, kill, -1

    def __call__(self) -> bool:
        if self._kill is not None and self._loop.progress.trained >= self._kill.after:
            time.sleep(_PACE)
        counts: Any = self._loop.consumer.counts
        seen = counts.delivered + counts.dead_lettered + sum(counts.dropped.values())
        still, self._last = seen == self._last, seen
        return still and self._loop.consumer.lag()[0] == 0
