"""The same index with its item -> node map shuffled: what the map is worth, everything else being equal."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from indexer.delta import Delta
from serving.mirror import World
from trainer.leaves import Leaves
from trainer.wire import StateDelta


class ShuffledIndex:
    """Follows a mirror's index; at every version nodes keep their sizes, but their items are drawn at random.

    An item that arrives between two versions goes to a random node.
    """

    def __init__(self, nodes: int, seed: int = 0) -> None:
        self._rng = np.random.default_rng([seed, 2])
        self.leaves = Leaves(nodes)
        self._half_life = -1

    def follow(self, world: World, state: StateDelta, deltas: Sequence[Delta], flipped: bool) -> None:
        """Take over what happened to the mirror's index: touched states, item deltas, and whether a version came."""
        if flipped:
            self._shuffle(world)
        for delta in deltas:
            if delta.op == "delete":
                self.leaves.remove(delta.row)
            elif delta.op == "insert":
                self.leaves.put(delta.row, int(self._rng.integers(len(self.leaves.sizes))))
        own = world.index.leaves
        touched = np.union1d(state.item_rows, [delta.row for delta in deltas]).astype(np.int64)
        self.leaves.set_mass(touched, own.log_mass[touched])
        if world.half_life != self._half_life:
            self._half_life = world.half_life
            self.leaves.set_mass(np.arange(len(own.log_mass)), own.log_mass)

    def _shuffle(self, world: World) -> None:
        own = world.index.leaves
        nodes = own.node_of.copy()
        held = np.flatnonzero(nodes >= 0)
        nodes[held] = self._rng.permutation(nodes[held])
        self.leaves.assign_all(nodes)
        self.leaves.set_mass(held, own.log_mass[held])
