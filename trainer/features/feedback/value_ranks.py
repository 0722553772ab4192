"""Ranks of values among the last values of their action, so that stars, points and percentages mean the same."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from hsnn.trainer.rowstore.arrays import Array

# Values kept per action: a rank is then known to about 1.5 points in 100, and follows a changed scale within a day.
_KEPT = 1024


class ValueRanks:
    """The last values of each rated action.

    Examples
    --------
    >>> ranks = ValueRanks(("rate",))
    >>> ranks.update(np.zeros(4, np.int64), np.array([1, 4, 4, 5], np.float32)).tolist()
    [0.0, 0.25, 0.25, 1.0]
    """

    def __init__(self, actions: Sequence[str]) -> None:
        self._actions = tuple(actions)
        self._values: list[NDArray[np.float32]] = [np.zeros(0, np.float32) for _ in actions]

    def update(self, actions: NDArray[np.int64], values: NDArray[np.float32]) -> NDArray[np.float32]:
        """Count values (n,) of `actions` (n,), -1 for none; then return their ranks, from 0 to 1, (n,).

        A rank is the share of the last values that are below, and 1 for the highest: where half of all is one star and
        half is five, the one is as low as can be and the other is not low. NaN where there is no value. The values of
        the batch itself are among them, so the first ones of a stream have a rank, too.
        """
        ranks = np.full(len(values), np.nan, np.float32)
        rated = (actions >= 0) & np.isfinite(values)
        for action in np.unique(actions[rated]).tolist():
            chosen = np.flatnonzero(rated & (actions == action))
            kept = np.concatenate([self._values[action], values[chosen]])
            self._values[action] = kept[-_KEPT:]
            ordered = np.sort(kept)
            below = np.searchsorted(ordered, values[chosen], "left") / len(ordered)
            ranks[chosen] = np.where(values[chosen] == ordered[-1], 1, below)
        return ranks

    def state_dict(self) -> dict[str, Array]:
        """Return the kept values by action, oldest first."""
        return dict(zip(self._actions, self._values, strict=True))

    def load_state_dict(self, arrays: Mapping[str, Array]) -> None:
        """Continue from copies of what `state_dict` returned; actions that it lacks begin anew."""
        for index, action in enumerate(self._actions):
            if action in arrays:
                self._values[index] = arrays[action].copy()
