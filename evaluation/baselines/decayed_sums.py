"""Decayed sums at several half-lives, kept in the units of an origin so that time passing changes nothing stored."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

_HOUR = 3_600_000.0
_REBASE = 200.0
"""Half-lives after which an origin moves: 2**200 is well within float64."""


class Origin:
    """When each half-life's unit was worth one.

    Parameters
    ----------
    hours : H half-lives; infinity never decays

    Examples
    --------
    >>> origin = Origin((1.0,))
    >>> origin.move(np.array([0])).tolist(), origin.worth(np.array([0, 3_600_000])).tolist()
    ([1.0], [[1.0], [2.0]])
    >>> origin.now(7_200_000).tolist()  # what a stored unit is worth two hours later
    [0.25]
    """

    def __init__(self, hours: Sequence[float]) -> None:
        self._half_lives = np.array(hours) * _HOUR
        self._at: NDArray[np.float64] | None = None

    def move(self, ts: NDArray[np.int64]) -> NDArray[np.float64]:
        """Prepare for events at `ts` (n,), epoch ms; multiply what is stored by the result (H,)."""
        if self._at is None:
            self._at = np.full(len(self._half_lives), float(ts.min()))
        far = (float(ts.max()) - self._at) / self._half_lives > _REBASE
        moved = np.where(far, float(ts.max()), self._at)
        factors: NDArray[np.float64] = np.exp2(-(moved - self._at) / self._half_lives)
        self._at = moved
        return factors

    def worth(self, ts: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return what an event at `ts` (n,) adds, (n, H)."""
        assert self._at is not None
        added: NDArray[np.float64] = np.exp2((ts[:, None] - self._at) / self._half_lives)
        return added

    def now(self, ts: int) -> NDArray[np.float64]:
        """Return what a stored unit is worth at `ts`, (H,)."""
        if self._at is None:
            return np.ones(len(self._half_lives))
        worth: NDArray[np.float64] = np.exp2(-(ts - self._at) / self._half_lives)
        return worth
