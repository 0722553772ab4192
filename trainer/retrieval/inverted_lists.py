"""The items of every node, and the order in which a beam takes them.

"Merge" order (as in Streaming VQ, 2501.08695): items of the opened nodes are ordered by node logit plus the log of the
item's share of its node's worth (`hsnn.trainer.features.item_prior`), so that the budget is not wasted on dead items.
Decay is common to all items and cancels out of every share, so only touched items change.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hsnn.trainer.rowstore.arrays import Array, gather_rows, grown
from hsnn.trainer.rowstore.write_barrier import WriteBarrier

_PRIOR = 0.02
"""Traffic that every item is credited with, as a fraction of the mean item's, so that an unseen item has a share."""

# Log traffic (nats) above the unit `_shift` at which the unit is chosen anew: float64 overflows at exp(709), and sums
# and products of such values must stay far below it.
_LARGEST_EXPONENT = 300.0

# Fraction of a node's traffic below which what subtraction leaves is taken for rounding error and is summed afresh.
_NOISE = 1e-6

_MANY = 16_384
"""Moves in one call above which all lists are rebuilt with one sort instead of being changed row by row."""


class BeamCandidates(NamedTuple):
    """Items a beam would score.

    Attributes
    ----------
    rows : (n <= budget,) int64
        In no order: whoever scores them all needs none, and sorting them costs as much as choosing them.
    keys : (n,) float64
        Merge order is that of falling keys.
    opened : int
        Nodes opened; 0 where the rows were given.
    considered : int
        Items that were in them and allowed, or given.
    """

    rows: NDArray[np.int64]
    keys: NDArray[np.float64]
    opened: int
    considered: int

    def rows_by_key(self) -> NDArray[np.int64]:
        """Rows (n,) in merge order."""
        return self.rows[np.argsort(-self.keys, kind="stable")]


class InvertedLists:
    """Members of each of `nodes` nodes; inserting, moving and removing an item takes constant time.

    Examples
    --------
    >>> leaves = InvertedLists(2)
    >>> leaves.assign_all(np.array([0, 0, 1, -1], np.int32))
    >>> leaves.set_log_mass(np.array([0, 1, 2]), np.log([1.0, 3.0, 4.0]))
    >>> leaves.candidates(np.array([0.0, -5.0]), beam=2, budget=2).rows_by_key().tolist()
    [1, 0]
    >>> leaves.sizes.tolist(), len(leaves)
    ([2, 1], 3)

    Attributes
    ----------
    node_of : (rows,) int32
        -1 = in no node.
    log_mass : (rows,) float64
        Log worth, up to a term common to all rows.
    sizes : (K,) int64
    barrier : WriteBarrier
        Of nodes and log worth.
    """

    def __init__(self, nodes: int) -> None:
        self.node_of: NDArray[np.int32] = np.full(1024, -1, np.int32)
        self.log_mass: NDArray[np.float64] = np.full(1024, -np.inf)
        self.sizes: NDArray[np.int64] = np.zeros(nodes, np.int64)
        self._slot: NDArray[np.int64] = np.zeros(1024, np.int64)
        self._members: list[NDArray[np.int64]] = [np.zeros(8, np.int64) for _ in range(nodes)]
        self._mass: NDArray[np.float64] = np.zeros(nodes)
        self._shift = 0.0
        self.barrier = WriteBarrier()

    def __len__(self) -> int:
        return int(self.sizes.sum())

    def reserve(self, rows: int) -> None:
        """Make room for `rows` rows."""
        self.node_of, self._slot = grown(self.node_of, rows, -1), grown(self._slot, rows)
        self.log_mass = grown(self.log_mass, rows, -np.inf)

    def assign_all(self, nodes: NDArray[np.int32]) -> None:
        """Assign row ``i`` to ``nodes[i]`` (-1: not indexed), forgetting what was there."""
        self.reserve(len(nodes))
        self.barrier.before_write(slice(None))
        self.node_of[:] = -1
        self._seat(nodes)

    def _seat(self, nodes: NDArray[np.int32]) -> None:
        """Put each row ``i`` into ``nodes[i]``."""
        self.node_of[: len(nodes)] = nodes
        order = np.argsort(nodes, kind="stable")
        self.sizes = np.bincount(nodes[nodes >= 0], minlength=len(self.sizes))
        bounds = np.cumsum(np.r_[(nodes < 0).sum(), self.sizes])
        for node, (start, stop) in enumerate(pairwise(bounds)):
            members = order[start:stop]
            self._slot[members] = np.arange(len(members))
            self._members[node] = np.r_[members, np.zeros(8, np.int64)]
        self._sum_masses()

    def columns(self) -> dict[str, Array]:
        """Return the arrays in use by name."""
        return {"node_of": self.node_of, "log_mass": self.log_mass}

    def load_columns(self, columns: Mapping[str, Array]) -> None:
        """Continue from copies of a checkpoint's columns; `load_state_dict` is to follow."""
        self.assign_all(columns["node_of"])
        self.log_mass[: len(columns["log_mass"])] = columns["log_mass"]

    def state_dict(self) -> dict[str, Array]:
        """Return the traffic of each node (K,) as summed up so far, and the log of the unit it is counted in.

        Sums that grew step by step differ in their last bits from sums made afresh; a restart needs the former.
        """
        return {"mass": self._mass, "shift": np.array(self._shift)}

    def load_state_dict(self, arrays: Mapping[str, Array]) -> None:
        """Continue, to the last bit, from copies of what `state_dict` returned."""
        self._mass, self._shift = arrays["mass"].copy(), float(arrays["shift"])

    def assign(self, row: int, node: int) -> None:
        """Insert `row` into `node`, or move it there."""
        self.reserve(row + 1)
        if self.node_of[row] != node:
            self.barrier.before_write(row)
            self._put(row, node)

    def _put(self, row: int, node: int) -> None:
        self._take_out(row)
        size = self.sizes[node]
        self._members[node] = grown(self._members[node], size + 1)
        self._members[node][size] = row
        self._slot[row], self.node_of[row] = size, node
        self.sizes[node] += 1
        if self.log_mass[row] - self._shift > _LARGEST_EXPONENT:
            self._sum_masses()
        else:
            self._mass[node] += np.exp(self.log_mass[row] - self._shift)

    def remove(self, row: int) -> None:
        """Take `row` out; nothing happens if it is in no node."""
        if row < len(self.node_of) and self.node_of[row] >= 0:
            self.barrier.before_write(row)
            self._take_out(row)

    def _take_out(self, row: int) -> None:
        node = self.node_of[row]
        if node < 0:
            return
        self.sizes[node] -= 1
        last = self._members[node][self.sizes[node]]
        self._members[node][self._slot[row]] = last
        self._slot[last] = self._slot[row]
        self.node_of[row] = -1
        before = self._mass[node]
        self._mass[node] = max(before - np.exp(self.log_mass[row] - self._shift), 0.0)
        if self._mass[node] < _NOISE * before:
            self._sum_again([int(node)], before)

    def clear(self, rows: NDArray[np.integer]) -> None:
        """Reset `rows` (n,), which are in no node, to rows that never were."""
        self.barrier.before_write(rows)
        self.log_mass[rows] = -np.inf

    def set_log_mass(self, rows: NDArray[np.integer], log_mass: NDArray[np.float64]) -> None:
        """Set the log traffic of unique `rows` (n,), up to a term common to all rows.

        A change of half-life changes that term: then all rows must be set at once.
        """
        self.reserve(int(rows.max(initial=-1)) + 1)
        self.barrier.before_write(rows)
        rescaled = log_mass.max(initial=-np.inf) - self._shift > _LARGEST_EXPONENT
        if rescaled or 2 * len(rows) >= len(self):  # differences of unlike scales would leave nothing but rounding
            self.log_mass[rows] = log_mass
            self._sum_masses()
            return
        nodes = self.node_of[rows]
        held = nodes >= 0
        before = self._mass.copy()
        change = np.exp(log_mass[held] - self._shift) - np.exp(self.log_mass[rows[held]] - self._shift)
        np.add.at(self._mass, nodes[held], change)
        np.maximum(self._mass, 0.0, out=self._mass)
        self.log_mass[rows] = log_mass
        lost = np.flatnonzero(self._mass < _NOISE * before)
        if len(lost):
            self._sum_again(lost.tolist(), float(before.max()))

    def members(self, node: int) -> NDArray[np.int64]:
        """Rows of a node, (size,); a view."""
        return self._members[node][: self.sizes[node]]

    def node_log_share(self) -> NDArray[np.float32]:
        """Log share of all traffic that goes to each node, (K,)."""
        prior = self._prior()
        mass = self._mass + prior * self.sizes
        share: NDArray[np.float64] = np.log(np.maximum(mass / max(mass.sum(), 1e-300), 1e-6))
        return share.astype(np.float32)

    def log_share_within(self, rows: NDArray[np.integer], nodes: NDArray[np.integer]) -> NDArray[np.float32]:
        """Log share (n,) of items `rows` (n,) in the traffic of `nodes` (n,), in them or not: merge's second term."""
        prior = self._prior()
        masses = np.exp(self.log_mass[rows] - self._shift) + prior
        totals = (self._mass + prior * self.sizes)[nodes]
        share: NDArray[np.float64] = np.log(np.maximum(masses, 1e-30)) - np.log(
            np.maximum(np.maximum(totals, masses), 1e-30)
        )
        return share.astype(np.float32)

    def assign_rows(self, rows: NDArray[np.integer], nodes: NDArray[np.integer]) -> None:
        """Insert or move unique `rows` (n,) into `nodes` (n,)."""
        self.reserve(int(rows.max(initial=-1)) + 1)
        moved = self.node_of[rows] != nodes
        self.barrier.before_write(rows[moved])
        if np.count_nonzero(moved) > _MANY:
            seats = self.node_of.copy()
            seats[rows] = nodes
            self._seat(seats)
            return
        for row, node in zip(rows[moved].tolist(), nodes[moved].tolist(), strict=True):
            self._put(row, node)

    def candidates(
        self,
        node_logits: NDArray[np.float32],
        beam: int,
        budget: int,
        allow: Callable[[NDArray[np.int64]], NDArray[np.bool_]] | None = None,
    ) -> BeamCandidates:
        """Items to score for one request: the best `budget` allowed ones of the best `beam` nodes.

        `node_logits` (K,) must hold each node's log probability up to a constant, -inf for nodes that the search did
        not come to; those and empty nodes are never opened.
        """
        ranked = np.where(self.sizes > 0, node_logits, -np.inf)
        beam = min(beam, int((ranked > -np.inf).sum()))
        if beam == 0:
            return BeamCandidates(np.zeros(0, np.int64), np.zeros(0), 0, 0)
        opened = np.argpartition(-ranked, beam - 1)[:beam]
        rows = np.concatenate([self.members(node) for node in opened])
        nodes = np.repeat(opened, self.sizes[opened])  # without a look at each row
        if allow is not None:
            allowed = allow(rows)
            rows, nodes = rows[allowed], nodes[allowed]
        return self._first(rows, nodes, node_logits, budget)._replace(opened=beam)

    def select_best(self, rows: NDArray[np.int64], node_logits: NDArray[np.float32], budget: int) -> BeamCandidates:
        """Choose the first `budget` of `rows` (n,) in merge order."""
        return self._first(rows, gather_rows(self.node_of, rows), node_logits, budget)

    def _first(
        self, rows: NDArray[np.int64], nodes: NDArray[np.integer], node_logits: NDArray[np.float32], budget: int
    ) -> BeamCandidates:
        """`best` of rows (n,) in the nodes (n,)."""
        prior, considered = self._prior(), len(rows)
        totals = np.log(np.maximum(self._mass + prior * self.sizes, 1e-300))  # (K,)
        masses = np.exp(gather_rows(self.log_mass, rows) - self._shift)
        keys = (node_logits - totals)[nodes] + np.log(masses + prior + 1e-300)
        if considered > budget:
            chosen = np.argpartition(-keys, budget - 1)[:budget]
            rows, keys = rows[chosen], keys[chosen]
        return BeamCandidates(rows, keys, 0, considered)

    def _prior(self) -> float:
        return _PRIOR * float(self._mass.sum()) / max(len(self), 1)

    def _sum_again(self, nodes: list[int], before: float) -> None:
        """Sum nodes that lost nearly all of their traffic afresh: what subtraction leaves of it is rounding.

        If all there is is small against `before`, it is counted in a new unit. Summed in the order of the rows, as
        restored leaves would: their members lie in another order.
        """
        if float(self._mass.sum()) < _NOISE * before:
            self._sum_masses()
            return
        for node in nodes:
            self._mass[node] = np.exp(self.log_mass[np.sort(self.members(node))] - self._shift).sum()

    def _sum_masses(self) -> None:
        held = np.flatnonzero(self.node_of >= 0)
        largest = self.log_mass[held].max(initial=-np.inf)
        self._shift = float(largest) if np.isfinite(largest) else 0.0
        masses = np.exp(self.log_mass[held] - self._shift)
        self._mass = np.bincount(self.node_of[held], weights=masses, minlength=len(self.sizes)).astype(np.float64)
