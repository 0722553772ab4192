"""Exponentially decayed sums at several half-lives, in units of an origin: time changes nothing that is stored."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

# Milliseconds per hour; half-lives are given in hours, times in epoch ms.
_HOUR = 3_600_000.0

# Half-lives after which an origin is moved to the present: a unit is worth 2**200 by then, well within float64.
_REBASE = 200.0


class DecayOrigin:
    """Time at which a stored unit was worth one, for each half-life.

    Parameters
    ----------
    hours : H half-lives; infinity never decays

    Examples
    --------
    >>> origin = DecayOrigin((1.0,))
    >>> origin.advance(np.array([0])).tolist(), origin.weights(np.array([0, 3_600_000])).tolist()
    ([1.0], [[1.0], [2.0]])
    >>> origin.unit_value(7_200_000).tolist()  # what a stored unit is worth two hours later
    [0.25]
    """

    def __init__(self, hours: Sequence[float]) -> None:
        self._half_lives = np.array(hours) * _HOUR
        self._origin: NDArray[np.float64] | None = None

    def advance(self, ts: NDArray[np.int64]) -> NDArray[np.float64]:
        """Prepare for events at `ts` (n,), epoch ms; return the factors (H,) to multiply stored sums with."""
        if self._origin is None:
            self._origin = np.full(len(self._half_lives), float(ts.min()))
        far = (float(ts.max()) - self._origin) / self._half_lives > _REBASE
        moved = np.where(far, float(ts.max()), self._origin)
        factors: NDArray[np.float64] = np.exp2(-(moved - self._origin) / self._half_lives)
        self._origin = moved
        return factors

    def weights(self, ts: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return what an event at `ts` (n,) adds to a stored sum, (n, H)."""
        assert self._origin is not None
        added: NDArray[np.float64] = np.exp2((ts[:, None] - self._origin) / self._half_lives)
        return added

    def unit_value(self, ts: int) -> NDArray[np.float64]:
        """Return what a stored unit is worth at `ts`, (H,)."""
        if self._origin is None:
            return np.ones(len(self._half_lives))
        value: NDArray[np.float64] = np.exp2(-(ts - self._origin) / self._half_lives)
        return value
