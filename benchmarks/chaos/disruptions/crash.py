"""Processes that are killed, or stopped for a while."""

from __future__ import annotations

import signal
from collections.abc import Sequence
from functools import partial
from random import Random

from benchmarks.chaos.disruptions.base import Disruption, Scene, Variant
from benchmarks.chaos.loop import LOG, REDIS, SERVERS, TRAINER
from benchmarks.chaos.processes import Target
from benchmarks.chaos.watch import Sign, is_down, is_not_ready, stands_still


class _OfProcess(Disruption):
    """A signal to one process of the loop, which is seen by its pages, or by what stands still without it."""

    def __init__(self, target: str, kind: str, scene: Scene, random: Random) -> None:
        super().__init__(kind, scene, random)
        self.struck = target

    @property
    def target(self) -> Target:
        """The process that is struck."""
        return self.scene.loop.targets[self.struck]

    def signs(self) -> Sequence[Sign]:
        return _signs(self.struck)


class Kill(_OfProcess):
    """SIGKILL. A role is started again by the service manager at once; Redis and the log stay away for a while."""

    hand = "service manager"

    def strike(self) -> None:
        self.target.kill()

    def end(self) -> None:
        self.target.revive()


class Stop(_OfProcess):
    """SIGSTOP, and SIGCONT after a while: a virtual machine that is moved, a process that swaps."""

    def strike(self) -> None:
        self.target.send_signal(signal.SIGSTOP)

    def end(self) -> None:
        self.target.send_signal(signal.SIGCONT)


def variants(scene: Scene) -> list[Variant]:
    """List a kill and a stop of every process."""
    found = []
    for name in scene.loop.targets:
        role = name.partition("_")[0]
        found += [(f"{role} is killed", partial(Kill, name)), (f"{role} hangs", partial(Stop, name))]
    return [(kind, partial(make, kind)) for kind, make in found]


def _signs(target: str) -> tuple[Sign, ...]:
    if target not in (REDIS, LOG):
        return (is_down(target),)
    times = (stands_still(TRAINER, "hsnn_watermark_seconds"), stands_still(SERVERS[0], "hsnn_mirror_watermark_seconds"))
    return (is_not_ready(TRAINER), *times)
