"""How many items change their node from one version to the next, per item and weighted by traffic."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hsnn.serving.mirror.mirror import Mirror
from hsnn.trainer.retrieval.inverted_lists import Leaves

_PER = 100_000


class Churn:
    """Compares the index before a version with that version.

    Attributes
    ----------
    items, traffic : float
        Sums over the versions of the share of items (of traffic) that changed their node.
    """

    def __init__(self) -> None:
        self.items = self.traffic = 0.0
        self._first = self._last = 0
        self._leaves: Leaves | None = None

    def before(self, mirror: Mirror) -> None:
        """Keep hold of the index in use."""
        self._leaves = mirror.state.index.leaves if mirror.loaded else None

    def after(self, mirror: Mirror, events: int) -> None:
        """Compare it with the version that came after `events` events."""
        leaves = mirror.state.index.leaves
        if self._leaves is None:
            self._first = events
        else:
            items, traffic = moved(self._leaves.node_of, leaves.node_of, leaves.log_mass)
            self.items, self.traffic = self.items + items, self.traffic + traffic
        self._last = events

    def per_100k(self) -> tuple[float, float]:
        """Return changes per item and per unit of traffic in 100,000 events; NaN before the second version."""
        events = self._last - self._first
        return (self.items * _PER / events, self.traffic * _PER / events) if events else (float("nan"), float("nan"))


def moved(before: NDArray[np.int32], after: NDArray[np.int32], log_mass: NDArray[np.float64]) -> tuple[float, float]:
    """Share of the items (rows,) that are in a node `before` and `after` and in another one, per item and by traffic.

    Examples
    --------
    >>> moved(np.array([0, 1, 2, -1]), np.array([0, 2, -1, 1]), np.log([3.0, 1.0, 5.0, 5.0]))
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
