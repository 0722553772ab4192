"""Signal of the users' vectors: how far those of a window are from the usual ones, as the model sees them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from hsnn.monitoring.observation import Observation
from hsnn.monitoring.watching.signal import GroupDeclaration, Signal, Value

# Smallest relative move that has a logarithm; single precision resolves 1e-7.
_LEAST_MOVE = 1e-6

SIGNALS = (
    Signal(
        name="users_vector_shift",
        meaning="log of how far a window moves the running mean of the users' vectors, relative to its length",
        worse="up",
        floor=0.1,
        detector="page_hinkley",  # the running mean follows, so that a shift is seen for some windows only
    ),
)


class UserVectorSignals:
    """Remembers the running mean at the end of the window before.

    A window moves a running mean by a fixed share of the distance between its own mean and the running one, so that
    the move is the distance of two samples' means: the maximum mean discrepancy with a linear kernel.
    """

    def __init__(self) -> None:
        self._before = np.zeros(0, np.float32)

    def update(self, observation: Observation) -> None:
        """Do nothing: the mean is read when the window closes."""

    def close(self, observation: Observation) -> Mapping[str, Value]:
        """Return the move; NaN in the first window, and without a model."""
        now, before = observation.mean_user(), self._before
        self._before = now.astype(np.float32)
        length = float(np.linalg.norm(before))
        if len(now) != len(before) or not length:
            return {"users_vector_shift": float("nan")}
        move = float(np.linalg.norm(now - before)) / length
        return {"users_vector_shift": math.log(max(move, _LEAST_MOVE))}

    def state_dict(self) -> dict[str, Any]:
        """Return the mean at the end of the window before."""
        return {"before": self._before.astype("<f4").tobytes()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore `state_dict`."""
        self._before = np.frombuffer(state["before"], "<f4").astype(np.float32)


GROUP = GroupDeclaration(UserVectorSignals, SIGNALS)
