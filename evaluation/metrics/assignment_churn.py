"""Assignment churn: share of items that change their node from one version to the next, by item and by traffic."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hsnn.serving.mirror.mirror import Mirror
from hsnn.trainer.retrieval.inverted_lists import InvertedLists

# Events that churn is expressed per.
_PER_EVENTS = 100_000


class AssignmentChurn:
    """Compares each version of the index with the index that it replaces.

    Attributes
    ----------
    items, traffic : float
        Sums over the versions of the share of items (of traffic) whose node changed.
    """

    def __init__(self) -> None:
        self.items = self.traffic = 0.0
        self._first = self._last = 0  # events learned at the first and the last version
        self._leaves: InvertedLists | None = None

    def before_version(self, mirror: Mirror) -> None:
        """Keep the index in use, which the next version may replace."""
        self._leaves = mirror.state.index.leaves if mirror.loaded else None

    def after_version(self, mirror: Mirror, events: int) -> None:
        """Compare the index that was kept with the version published after `events` events."""
        leaves = mirror.state.index.leaves
        if self._leaves is None:
            self._first = events
        else:
            items, traffic = moved_share(self._leaves.node_of, leaves.node_of, leaves.log_mass)
            self.items, self.traffic = self.items + items, self.traffic + traffic
        self._last = events

    def per_100k(self) -> tuple[float, float]:
        """Churn per 100,000 events, by item and by traffic; NaN before the second version."""
        events = self._last - self._first
        return (
            (self.items * _PER_EVENTS / events, self.traffic * _PER_EVENTS / events)
            if events
            else (float("nan"), float("nan"))
        )


def moved_share(
    before: NDArray[np.int32], after: NDArray[np.int32], log_mass: NDArray[np.float64]
) -> tuple[float, float]:
    """Share of items whose node changed, of those in a node both `before` and `after`, (rows,): by item and by traffic.

    Examples
    --------
    >>> moved_share(np.array([0, 1, 2, -1]), np.array([0, 2, -1, 1]), np.log([3.0, 1.0, 5.0, 5.0]))
    (0.5, 0.25)
    """
    rows = min(len(before), len(after))
    both = np.flatnonzero((before[:rows] >= 0) & (after[:rows] >= 0))
    if not len(both):
        return 0.0, 0.0
    other = before[both] != after[both]
    mass = log_mass[both]
    weight = np.exp(mass - mass.max()) if np.isfinite(mass.max()) else np.ones(len(both))
    return float(other.mean()), float(weight[other].sum() / weight.sum())
