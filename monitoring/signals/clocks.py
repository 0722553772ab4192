"""Signals of the producers' clocks: event time against the wall time of sending, both as the log has them.

A function of the log like all signals; but two logs with the same events differ in it, so a checkpoint's digest leaves
its state out (`hsnn.trainer.checkpoint.digest`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from hsnn.monitoring.observation import Observation
from hsnn.monitoring.watching.signal import GroupDeclaration, Signal, Value

SIGNALS = (
    Signal(
        name="clocks_ahead_share",
        meaning="share of events whose time is after that of their sending",
        worse="up",
        floor=0.01,
    ),
    Signal(
        name="clocks_spread",
        meaning="log of the seconds between the 5% and 95% quantile of the age when sent",
        worse="up",
        floor=0.25,
        detector="kswin",
    ),
)

# Milliseconds that a clock may be ahead: machines that are synchronised differ by less.
_TOLERANCE = 1000


class ClockSignals:
    """Ages of the window's events when they were sent."""

    def __init__(self) -> None:
        self._ages: list[int] = []

    def update(self, observation: Observation) -> None:
        """Add a batch; events without a time of sending are left out."""
        sent = observation.sent_at > 0
        self._ages += (observation.sent_at - observation.event_ts)[sent].tolist()

    def close(self, observation: Observation) -> Mapping[str, Value]:  # noqa: ARG002 - of the contract
        """Return the share of clocks that are ahead, and the spread of the ages."""
        ages = np.array(self._ages, np.float64)
        self._ages = []
        if not len(ages):
            return dict.fromkeys((signal.name for signal in SIGNALS), float("nan"))
        low, high = np.quantile(ages, (0.05, 0.95))
        return {
            "clocks_ahead_share": float((ages < -_TOLERANCE).mean()),
            "clocks_spread": float(np.log1p((high - low) / 1000)),
        }

    def state_dict(self) -> dict[str, Any]:
        """Return the open window."""
        return {"ages": list(self._ages)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore `state_dict`."""
        self._ages = [int(age) for age in state["ages"]]


GROUP = GroupDeclaration(ClockSignals, SIGNALS)
