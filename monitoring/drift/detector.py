"""The contract of a drift detector, and what all of them share."""

from __future__ import annotations

from typing import Any, Protocol, TypeVar

from hsnn.monitoring.alarms import Alarm

Input = TypeVar("Input", contravariant=True)


class Detector(Protocol[Input]):
    """Reads one value per training batch and raises an alarm once per shift.

    It depends on nothing but its inputs: the same inputs raise the same alarms at the same places.
    """

    kind: str

    def update(self, value: Input, ts: int) -> Alarm | None:
        """Take the next batch's value; `ts` is the batch's event time, epoch ms."""

    def state_dict(self) -> dict[str, Any]:
        """Everything the detector knows, bounded, as plain values for the checkpoint."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on as the detector that gave `state` would."""


class AlarmCoolDown:
    """Keeps a detector silent at its start and after an alarm; counts batches or windows, never time.

    Examples
    --------
    >>> pause = AlarmCoolDown(warm_up=1, cool_down=2)
    >>> pause.expired()
    False
    >>> pause.advance(); pause.expired()
    True
    >>> pause.restart(); pause.remaining
    2
    """

    def __init__(self, warm_up: int, cool_down: int) -> None:
        self.remaining = warm_up
        self._cool_down = cool_down

    def advance(self) -> None:
        """One more batch or window went by."""
        self.remaining = max(self.remaining - 1, 0)

    def expired(self) -> bool:
        """Whether an alarm may be raised now."""
        return self.remaining == 0

    def restart(self) -> None:
        """Start the pause that follows an alarm."""
        self.remaining = self._cool_down
