"""The contract of a disruption."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random

from benchmarks.chaos.loop import Loop
from benchmarks.chaos.traffic import Traffic
from benchmarks.chaos.watch import Sign, View


@dataclass(frozen=True)
class Scene:
    """What disruptions strike."""

    loop: Loop
    traffic: Traffic


class Disruption(ABC):
    """Something bad that is done to a loop, and undone after a while.

    Attributes
    ----------
    kind : str
        Its row in the table.
    hand : str
        Who mends it when it has ended: ``no`` for nobody, ``service manager`` for restarts.
    struck : str
        Name of the process that cannot work meanwhile; empty: all can.
    """

    hand, struck = "no", ""

    def __init__(self, kind: str, scene: Scene, random: Random) -> None:
        self.kind, self.scene, self.random = kind, scene, random
        self.lasts = random.uniform(*self.durations())
        """Seconds from its beginning to its end."""

    @abstractmethod
    def signs(self) -> Sequence[Sign]:
        """List what an operator may see of it; called before `strike`. Empty: nothing, since nothing goes by it."""

    @abstractmethod
    def strike(self) -> None:
        """Do it."""

    def has_begun(self) -> bool:
        """Whether it is felt by now; from then on an operator must see it within seconds."""
        return True

    def end(self) -> None:
        """Undo it; do nothing if it has no lasting effect."""
        return

    def is_over(self, now: View) -> str:
        """Say what of its consequences is not over yet, besides what holds after every disruption; empty: nothing."""
        del now
        return ""

    def durations(self) -> tuple[float, float]:
        """Bounds of the seconds that it lasts, at least."""
        return (2.0, 6.0)


Variant = tuple[str, Callable[[Scene, Random], Disruption]]
"""The kind of a disruption, and how to make one."""
