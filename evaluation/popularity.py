"""Decayed popularity at several half-lives: the rival that is easy to underrate by choosing its half-life badly."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from trainer.arrays import grown

HOURS = (0.1, 0.25, 0.5, 1.0, 4.0, 24.0, 168.0, 720.0, 2400.0, float("inf"))
"""Half-lives that are tried, in hours; the last one never forgets."""

_HOUR = 3_600_000.0
_REBASE = 200.0


class Popularity:
    """Counts of all items at every half-life, by row.

    Counts are kept as they were worth at `origin`; decay is common to all items and does not change their order.

    Examples
    --------
    >>> popularity = Popularity()
    >>> popularity.count(np.array([0, 0, 1]), np.array([0, 0, 3_600_000]))
    >>> popularity.values[0, :2].argmax().item(), popularity.values[-1, :2].argmax().item()  # 0.1 h; for ever
    (1, 0)
    """

    def __init__(self) -> None:
        self._values: NDArray[np.float64] = np.zeros((1024, len(HOURS)))
        self._half_lives = np.array(HOURS) * _HOUR
        self._origin: NDArray[np.float64] | None = None

    @property
    def values(self) -> NDArray[np.float64]:
        """Counts (H, rows), each half-life in a unit of its own."""
        return self._values.T

    def reserve(self, rows: int) -> None:
        """Make room for `rows` rows."""
        self._values = grown(self._values, rows)

    def count(self, rows: NDArray[np.integer], ts: NDArray[np.int64]) -> None:
        """Count engagements with `rows` (n,) at `ts` (n,), epoch ms."""
        if self._origin is None:
            self._origin = np.full(len(HOURS), float(ts.min()))
        age = (ts[:, None] - self._origin) / self._half_lives  # (n, H)
        far = age.max(0) > _REBASE
        if far.any():
            now = float(ts.max())
            self._values[:, far] *= np.exp2(-(now - self._origin[far]) / self._half_lives[far])
            self._origin = np.where(far, now, self._origin)
            age = (ts[:, None] - self._origin) / self._half_lives
        np.add.at(self._values, rows, np.exp2(age))
