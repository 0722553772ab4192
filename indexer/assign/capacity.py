"""The rules of placing beyond "the nearest node": how full a node may be, and when an item leaves the node it is in.

**Room.** A node of a version holds at most `Placing.cap` items, whatever comes and goes and at every moment. The cap
follows the most items that the version held at once, not how many it holds now: else departures alone would break it.
It is never below the mean, so there is always a node with room.

**Hysteresis.** Between two nodes that are about equally near an item would change its node with every new model. So it
leaves the node it is in for another only if that is nearer by a margin.
"""

from __future__ import annotations

import math
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from hsnn.indexer.config import IndexerConfig
from hsnn.indexer.store.version import VersionManifest

Sizes = NDArray[np.int64]


class Placing(NamedTuple):
    """How items are placed.

    Attributes
    ----------
    margin
        An item stays while its node is at most so many times farther than the nearest one, beyond 1.
    over_mean
        Most items per node as a multiple of the mean, at least 1; infinite: no bound.
    floor
        A node may always hold so many.

    Examples
    --------
    >>> rules = Placing(over_mean=2.0, floor=5)
    >>> rules.cap(items=8, nodes=4), rules.cap(items=13, nodes=4)
    (5, 7)
    """

    margin: float = 0.0
    over_mean: float = math.inf
    floor: int = 0

    @classmethod
    def of(cls, config: IndexerConfig) -> Self:
        """Rules that a configuration sets."""
        return cls(config.move_margin, config.node_over_mean, config.node_floor)

    def of_version(self, manifest: VersionManifest) -> Self:
        """Return the same with the bound of a version that was made before."""
        return self._replace(over_mean=manifest.over_mean or math.inf, floor=manifest.floor)

    def cap(self, items: int, nodes: int) -> int:
        """Most items that one of `nodes` nodes may hold in a version of so many items."""
        if math.isinf(self.over_mean):
            return np.iinfo(np.int64).max
        return max(self.floor, math.ceil(self.over_mean * items / nodes), 1)


FREE = Placing()
"""The nearest node, always."""


class Room:
    """What the nodes of a version hold and may hold, while items come, move and go one by one.

    Parameters
    ----------
    rules
        How items are placed.
    sizes : (K,) int64
        Items per node.
    peak
        Most items that the version held at once.

    Examples
    --------
    >>> room = Room(Placing(over_mean=1.0), np.array([1, 1]), peak=2)
    >>> room.free(0), room.cap  # a third item would raise the cap
    (True, 1)
    >>> room.enter(0)
    >>> room.free(0), room.free(1), room.cap
    (False, True, 2)
    """

    def __init__(self, rules: Placing, sizes: Sizes, peak: int = 0) -> None:
        self.rules, self.sizes = rules, sizes.copy()
        self.items = int(sizes.sum())
        self.peak = max(peak, self.items)

    @property
    def cap(self) -> int:
        """Most items per node now."""
        return self.rules.cap(self.peak, len(self.sizes))

    def copy(self) -> Room:
        """Room to try things out in."""
        return Room(self.rules, self.sizes, self.peak)

    def enter(self, node: int) -> None:
        """Count an item that enters a node."""
        self.sizes[node] += 1
        self.items += 1
        self.peak = max(self.peak, self.items)

    def leave(self, node: int) -> None:
        """Count an item that leaves a node; -1: it was in none."""
        if node >= 0:
            self.sizes[node] -= 1
            self.items -= 1

    def free(self, node: int) -> bool:
        """Whether one more item may enter a node."""
        return bool(self.sizes[node] < self._cap_with_one_more())

    def nearest_free(self, distances: NDArray[np.float32]) -> int:
        """Node with room that is nearest by distances (K,)."""
        return int(np.where(self.sizes < self._cap_with_one_more(), distances, np.inf).argmin())

    def _cap_with_one_more(self) -> int:
        return self.rules.cap(max(self.peak, self.items + 1), len(self.sizes))
