"""The protocol of drift detectors, how a file declares one, and the cool-down after an alarm."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from hsnn.monitoring.alarms import Alarm
from hsnn.monitoring.config import MonitoringConfig
from hsnn.monitoring.observation import Observation

Input = TypeVar("Input", contravariant=True)
Value = TypeVar("Value")


class Detector(Protocol[Input]):
    """A detector that gets one value per training batch and raises one alarm per shift.

    Deterministic: the same inputs raise the same alarms at the same batches.
    """

    kind: str

    def update(self, value: Input, ts: int) -> Alarm | None:
        """Update with the value of the next batch; `ts` is the event time of the batch, epoch ms."""

    def state_dict(self) -> dict[str, Any]:
        """Return the whole state, bounded in size, as plain values for the checkpoint."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore `state_dict`."""


@dataclass(frozen=True, slots=True)
class DetectorDeclaration(Generic[Value]):
    """Declaration of a detector. A module of `hsnn.monitoring.drift` has one as `DETECTOR`; nothing else names it.

    Its state is in checkpoints under the name of its module.

    Attributes
    ----------
    create : function
    signal : function
        Takes the value of a batch that the detector is updated with.
    """

    create: Callable[[MonitoringConfig], Detector[Value]]
    signal: Callable[[Observation], Value]


class AlarmCoolDown:
    """Suppress alarms during warm-up and after an alarm; counts batches or windows, never wall time.

    Examples
    --------
    >>> cool_down = AlarmCoolDown(warm_up=1, cool_down=2)
    >>> cool_down.expired()
    False
    >>> cool_down.advance(); cool_down.expired()
    True
    >>> cool_down.restart(); cool_down.remaining
    2
    """

    def __init__(self, warm_up: int, cool_down: int) -> None:
        self.remaining = warm_up
        self._cool_down = cool_down

    def advance(self) -> None:
        """Count one more batch or window."""
        self.remaining = max(self.remaining - 1, 0)

    def expired(self) -> bool:
        """Whether an alarm may be raised now."""
        return self.remaining == 0

    def restart(self) -> None:
        """Start the cool-down that follows an alarm."""
        self.remaining = self._cool_down
