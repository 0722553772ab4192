"""Wall clocks that are wrong by an hour or two days, of a role, of Redis, of the log, of one of eight producers."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from random import Random

from benchmarks.chaos.clocks import SHIFTS
from benchmarks.chaos.disruptions.base import Disruption, Scene, Variant
from benchmarks.chaos.loop import LOG, REDIS, ROLES
from benchmarks.chaos.watch import Sign, exceeds, grows

# seconds that clocks may differ without being a sign
_NORMAL = 60.0
_AHEAD = "hsnn_clock_ahead_seconds"


class WrongClock(Disruption):
    """The clock of one process is set while it runs, and set right again."""

    def __init__(self, target: str, shift: int, kind: str, scene: Scene, random: Random) -> None:
        super().__init__(kind, scene, random)
        self._target, self._shift = target, shift

    def signs(self) -> Sequence[Sign]:
        if self._target == LOG:
            return ()
        return (exceeds(ROLES if self._target == REDIS else (self._target,), _AHEAD, _NORMAL),)

    def strike(self) -> None:
        self.scene.loop.targets[self._target].clock.set(self._shift)

    def end(self) -> None:
        self.scene.loop.targets[self._target].clock.set(0)


class WrongProducer(Disruption):
    """One of eight producers stamps events by a wrong clock."""

    def __init__(self, shift: int, kind: str, scene: Scene, random: Random) -> None:
        super().__init__(kind, scene, random)
        self._shift = shift

    def signs(self) -> Sequence[Sign]:
        side = "ahead" if self._shift > 0 else "behind"
        return (grows("trainer", f'hsnn_events_off_time_total{{side="{side}"}}'),)

    def strike(self) -> None:
        self.scene.traffic.offset = self._shift

    def end(self) -> None:
        self.scene.traffic.offset = 0


def variants(scene: Scene) -> list[Variant]:
    """List a shift of each clock that can be set, as it will be drawn."""
    found: list[Variant] = [(f"clock of a producer {_text(shift)}", partial(WrongProducer, shift)) for shift in SHIFTS]
    if scene.loop.clocks_can_be_set:
        for name in scene.loop.targets:
            role = name.partition("_")[0]
            found += [(f"clock of {role} {_text(shift)}", partial(WrongClock, name, shift)) for shift in SHIFTS]
    return [(kind, partial(make, kind)) for kind, make in found]


def _text(shift: int) -> str:
    hours = abs(shift) // 3600
    return f"{'+' if shift > 0 else '-'}{f'{hours // 24} days' if hours >= 24 else f'{hours} h'}"
