"""Rules of placement beyond "the nearest node": how full a node may be, and when an item leaves its node.

**Capacity.** At every moment, a node of a version holds at most `PlacementRules.node_cap` items. The cap follows the
most items that the version ever held at once and not how many it holds now, or departures alone would break it. It is
never below the mean, so there is always a node with room.

**Hysteresis.** An item between two nodes that are about equally near would change its node with every new model. So it
leaves its node only for one that is nearer by a margin.
"""

from __future__ import annotations

import math
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from hsnn.indexer.config import IndexerConfig
from hsnn.indexer.store.version import VersionManifest

NodeSizes = NDArray[np.int64]


class PlacementRules(NamedTuple):
    """How items are placed.

    Attributes
    ----------
    margin
        An item stays in its node if that is at most ``1 + margin`` times as far as the nearest one.
    over_mean
        Most items per node as a multiple of the mean, at least 1; infinite: no bound.
    floor
        A node may always hold so many items.

    Examples
    --------
    >>> rules = PlacementRules(over_mean=2.0, floor=5)
    >>> rules.node_cap(items=8, nodes=4), rules.node_cap(items=13, nodes=4)
    (5, 7)
    """

    margin: float = 0.0
    over_mean: float = math.inf
    floor: int = 0

    @classmethod
    def from_config(cls, config: IndexerConfig) -> Self:
        """Make the rules that a configuration sets."""
        return cls(config.move_margin, config.node_over_mean, config.node_floor)

    def for_version(self, manifest: VersionManifest) -> Self:
        """Return the same rules with the bound that an existing version was made with."""
        return self._replace(over_mean=manifest.over_mean or math.inf, floor=manifest.floor)

    def node_cap(self, items: int, nodes: int) -> int:
        """Return the most items that one of `nodes` nodes may hold in a version of so many items."""
        if math.isinf(self.over_mean):
            return np.iinfo(np.int64).max
        return max(self.floor, math.ceil(self.over_mean * items / nodes), 1)


NEAREST_NODE = PlacementRules()
"""Rules by which every item goes to its nearest node."""


class NodeCapacity:
    """What the nodes of a version hold and may hold, while items come, move and leave one by one.

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
    >>> capacity = NodeCapacity(PlacementRules(over_mean=1.0), np.array([1, 1]), peak=2)
    >>> capacity.has_room(0), capacity.cap  # a third item would raise the cap
    (True, 1)
    >>> capacity.add(0)
    >>> capacity.has_room(0), capacity.has_room(1), capacity.cap
    (False, True, 2)
    """

    def __init__(self, rules: PlacementRules, sizes: NodeSizes, peak: int = 0) -> None:
        self.rules, self.sizes = rules, sizes.copy()
        self.items = int(sizes.sum())
        self.peak = max(peak, self.items)

    @property
    def cap(self) -> int:
        """Most items per node now."""
        return self.rules.node_cap(self.peak, len(self.sizes))

    def copy(self) -> NodeCapacity:
        """Copy, to plan changes that may not be made."""
        return NodeCapacity(self.rules, self.sizes, self.peak)

    def add(self, node: int) -> None:
        """Count an item that enters a node."""
        self.sizes[node] += 1
        self.items += 1
        self.peak = max(self.peak, self.items)

    def remove(self, node: int) -> None:
        """Count an item that leaves a node; -1: it was in none."""
        if node >= 0:
            self.sizes[node] -= 1
            self.items -= 1

    def has_room(self, node: int) -> bool:
        """Tell whether one more item may enter a node."""
        return bool(self.sizes[node] < self._cap_with_one_more())

    def nearest_with_room(self, distances: NDArray[np.float32]) -> int:
        """Return the nearest node with room, by distances (K,)."""
        return int(np.where(self.sizes < self._cap_with_one_more(), distances, np.inf).argmin())

    def _cap_with_one_more(self) -> int:
        return self.rules.node_cap(max(self.peak, self.items + 1), len(self.sizes))
