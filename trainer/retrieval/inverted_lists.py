"""Inverted lists: the items of every node, and the candidates that a beam of nodes yields.

Candidates are in "merge" order (as in Streaming VQ, 2501.08695): by node logit plus the log of the item's share of its
node's traffic (`hsnn.trainer.features.item_prior`), so that the budget is not spent on dead items. Traffic is kept as a
log mass per item, up to a term common to all: decay changes that term alone and cancels out of every share, so only
items with new engagements change.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hsnn.trainer.retrieval.leaf_scan import Opening
from hsnn.trainer.rowstore.arrays import Array, gather_rows, grown, span_indices
from hsnn.trainer.rowstore.write_barrier import WriteBarrier

_PRIOR = 0.02
"""Traffic that every item is credited with, as a fraction of the mean item's, so that an unseen item has a share."""

# Log traffic (nats) above the unit `_shift` at which the unit is chosen anew: float64 overflows at exp(709), and sums
# and products of such values must stay far below it.
_LARGEST_EXPONENT = 300.0

# Fraction of a node's traffic below which what subtraction leaves is taken for rounding error and is summed afresh.
_NOISE = 1e-6

_MANY = 16_384
"""Moves in one call above which all lists are rebuilt with one sort, which leaves no unused room."""

# Rows of spare room per node when all lists are laid out: most nodes take in the items of many steps before they move.
_SPARE = 8


class BeamCandidates(NamedTuple):
    """Items that a beam search selects for scoring.

    Attributes
    ----------
    rows : (n <= budget,) int64
        Unordered: a caller that scores them all needs no order, and sorting costs as much as selecting.
    keys : (n,) float64
        Sort keys: merge order is by falling key.
    opened : int
        Nodes opened; 0 where the rows were given.
    considered : int
        Allowed items of the opened nodes, or rows given.
    """

    rows: NDArray[np.int64]
    keys: NDArray[np.float64]
    opened: int
    considered: int

    def rows_by_key(self) -> NDArray[np.int64]:
        """Return the rows (n,) in merge order."""
        return self.rows[np.argsort(-self.keys, kind="stable")]


class InvertedLists:
    """Member rows of each of `nodes` nodes; inserting, moving and removing an item takes constant time.

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
        Node of each row; -1 = in none.
    log_mass : (rows,) float64
        Log of each row's traffic (its prior), up to a term common to all rows.
    sizes : (K,) int64
        Items of each node.
    barrier : WriteBarrier
        Called before `node_of` or `log_mass` is written.
    """

    def __init__(self, nodes: int) -> None:
        self.node_of: NDArray[np.int32] = np.full(1024, -1, np.int32)
        self.log_mass: NDArray[np.float64] = np.full(1024, -np.inf)
        self.sizes: NDArray[np.int64] = np.zeros(nodes, np.int64)
        # A row's index in its node's list: removal moves the last member into the free slot instead of shifting all.
        self._slot: NDArray[np.int64] = np.zeros(1024, np.int64)
        # All lists in one array, so that many rows change at once; a list that outgrows its room moves to the end.
        self._members: NDArray[np.int64] = np.zeros(_SPARE * nodes, np.int64)
        self._start: NDArray[np.int64] = _SPARE * np.arange(nodes)
        self._room: NDArray[np.int64] = np.full(nodes, _SPARE)
        self._end = _SPARE * nodes
        # Traffic of each node, in units of exp(_shift): log masses of a long stream would overflow exp without a shift.
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
        """Assign row ``i`` to ``nodes[i]`` (-1: not indexed), replacing all earlier assignments."""
        self.reserve(len(nodes))
        self.barrier.before_write(slice(None))
        self.node_of[:] = -1
        self._rebuild(nodes)

    def _rebuild(self, nodes: NDArray[np.int32]) -> None:
        """Build all lists from the node of each row, with one sort: members are ascending rows."""
        self.node_of[: len(nodes)] = nodes
        self.sizes = np.bincount(nodes[nodes >= 0], minlength=len(self.sizes))
        self._lay_out(np.argsort(nodes, kind="stable")[int((nodes < 0).sum()) :], self.sizes)
        self._sum_masses()

    def _lay_out(self, members: NDArray[np.int64], sizes: NDArray[np.int64]) -> None:
        """Lay out the lists anew, of `members` (n,), node by node, with room for at least `sizes` (K,)."""
        self._room = sizes + sizes // 4 + _SPARE
        self._start, self._end = np.cumsum(self._room) - self._room, int(self._room.sum())
        self._members = np.zeros(self._end, np.int64)
        self._members[span_indices(self._start, self.sizes)] = members
        self._slot[members] = span_indices(np.zeros_like(self.sizes), self.sizes)

    def columns(self) -> dict[str, Array]:
        """Return the arrays in use by name."""
        return {"node_of": self.node_of, "log_mass": self.log_mass}

    def load_columns(self, columns: Mapping[str, Array]) -> None:
        """Continue from copies of a checkpoint's columns; call `load_state_dict` afterwards."""
        self.assign_all(columns["node_of"])
        self.log_mass[: len(columns["log_mass"])] = columns["log_mass"]

    def state_dict(self) -> dict[str, Array]:
        """Return the traffic of each node (K,) as accumulated so far, and the log of its unit.

        Accumulated sums differ in their last bits from sums computed afresh; a bit-exact restart needs the former.
        """
        return {"mass": self._mass, "shift": np.array(self._shift)}

    def load_state_dict(self, arrays: Mapping[str, Array]) -> None:
        """Continue, to the last bit, from copies of what `state_dict` returned."""
        self._mass, self._shift = arrays["mass"].copy(), float(arrays["shift"])

    def assign(self, row: int, node: int) -> None:
        """Insert `row` into `node`, or move it there."""
        self.reserve(row + 1)
        if self.node_of[row] == node:
            return
        self.remove(row)
        self.barrier.before_write(row)
        size = int(self.sizes[node])
        if size == self._room[node]:
            self._make_room(self.sizes + (np.arange(len(self.sizes)) == node))
        self._members[self._start[node] + size] = row
        self._slot[row], self.node_of[row] = size, node
        self.sizes[node] += 1
        # Beyond the exponent the sum would lose all smaller items, or overflow: the unit is chosen anew.
        if self.log_mass[row] - self._shift > _LARGEST_EXPONENT:
            self._sum_masses()
        else:
            self._mass[node] += np.exp(self.log_mass[row] - self._shift)

    def assign_rows(self, rows: NDArray[np.integer], nodes: NDArray[np.integer]) -> None:
        """Insert or move unique `rows` (n,) into `nodes` (n,)."""
        self.reserve(int(rows.max(initial=-1)) + 1)
        moved = self.node_of[rows] != nodes
        rows, nodes = rows[moved], nodes[moved]
        if len(rows) > _MANY:
            self.barrier.before_write(rows)
            assigned = self.node_of.copy()
            assigned[rows] = nodes
            self._rebuild(assigned)
            return
        self.remove_rows(rows)
        self._insert(rows, nodes)

    def _insert(self, rows: NDArray[np.integer], nodes: NDArray[np.integer]) -> None:
        """Insert unique `rows` (n,), which are in no node, into `nodes` (n,)."""
        if not len(rows):
            return
        self.barrier.before_write(rows)
        # Sorted by node, the new rows of each node are neighbours and fill the places behind its last member.
        order = np.argsort(nodes, kind="stable")
        rows, nodes = rows[order], nodes[order]
        added = np.bincount(nodes, minlength=len(self.sizes))
        self._make_room(self.sizes + added)
        slots = span_indices(self.sizes, added)
        self._members[self._start[nodes] + slots] = rows
        self._slot[rows], self.node_of[rows] = slots, nodes
        self.sizes += added
        masses = self.log_mass[rows]
        if masses.max() - self._shift > _LARGEST_EXPONENT:
            self._sum_masses()
        else:
            np.add.at(self._mass, nodes, np.exp(masses - self._shift))

    def _make_room(self, sizes: NDArray[np.int64]) -> None:
        """Move lists that have no room for `sizes` (K,) rows to the end of the array, with room for twice as many."""
        full = np.flatnonzero(sizes > self._room)
        if not len(full):
            return
        if self._end > 2 * int(self._room.sum()):  # most of the array is room that lists have left
            self._lay_out(self._members[span_indices(self._start, self.sizes)], sizes)
            return
        # To the end: making room where they lie would move all lists behind them.
        members, held = self._members[span_indices(self._start[full], self.sizes[full])], self.sizes[full]
        self._room[full] = 2 * sizes[full]
        self._start[full] = self._end + np.cumsum(self._room[full]) - self._room[full]
        self._end += int(self._room[full].sum())
        self._members = grown(self._members, self._end)
        self._members[span_indices(self._start[full], held)] = members

    def remove(self, row: int) -> None:
        """Remove `row` from its node, if it is in one."""
        node = int(self.node_of[row]) if row < len(self.node_of) else -1
        if node < 0:
            return
        self.barrier.before_write(row)
        # The last member takes the place of the removed one: lists stay dense, and nothing else moves.
        self.sizes[node] -= 1
        last = self._members[self._start[node] + self.sizes[node]]
        self._members[self._start[node] + self._slot[row]] = last
        self._slot[last] = self._slot[row]
        self.node_of[row] = -1
        before = float(self._mass[node])
        # Subtracting is O(1) but leaves rounding error, which may be negative; nearly empty sums are made afresh.
        self._mass[node] = max(before - np.exp(self.log_mass[row] - self._shift), 0.0)
        if self._mass[node] < _NOISE * before:
            self._sum_afresh([node], before)

    def remove_rows(self, rows: NDArray[np.integer]) -> None:
        """Remove unique `rows` (n,) from their nodes; those that are in none are left out."""
        rows = rows[rows < len(self.node_of)]
        rows = rows[self.node_of[rows] >= 0]
        if not len(rows):
            return
        self.barrier.before_write(rows)
        nodes, slots = self.node_of[rows], self._slot[rows]
        self.node_of[rows] = -1
        removed = np.bincount(nodes, minlength=len(self.sizes))
        self.sizes -= removed
        # The lists' last places are given up. Rows that stay move from there to the places that became free before.
        last = self._members[span_indices(self._start + self.sizes, removed)]
        last = last[self.node_of[last] >= 0]
        # As many rows stay among the last places as places are free before them, node by node: sorted by node, both
        # sequences match one to one.
        free = np.flatnonzero(slots < self.sizes[nodes])
        free = free[np.argsort(nodes[free], kind="stable")]
        self._members[self._start[nodes[free]] + slots[free]] = last
        self._slot[last] = slots[free]
        before = self._mass.copy()
        np.subtract.at(self._mass, nodes, np.exp(self.log_mass[rows] - self._shift))
        self._settle_masses(before)

    def clear(self, rows: NDArray[np.integer]) -> None:
        """Reset the traffic of `rows` (n,), which are in no node."""
        self.barrier.before_write(rows)
        self.log_mass[rows] = -np.inf

    def set_log_mass(self, rows: NDArray[np.integer], log_mass: NDArray[np.float64]) -> None:
        """Set the log traffic of unique `rows` (n,), up to a term common to all rows.

        A change of half-life changes that term: then all rows must be set at once.
        """
        self.reserve(int(rows.max(initial=-1)) + 1)
        self.barrier.before_write(rows)
        rescaled = log_mass.max(initial=-np.inf) - self._shift > _LARGEST_EXPONENT
        # A new half-life (most rows) or a new unit: differences of masses of unlike scales would be rounding error.
        if rescaled or 2 * len(rows) >= len(self):
            self.log_mass[rows] = log_mass
            self._sum_masses()
            return
        nodes = self.node_of[rows]
        held = nodes >= 0
        before = self._mass.copy()
        change = np.exp(log_mass[held] - self._shift) - np.exp(self.log_mass[rows[held]] - self._shift)
        np.add.at(self._mass, nodes[held], change)
        self.log_mass[rows] = log_mass
        self._settle_masses(before)

    def members(self, node: int) -> NDArray[np.int64]:
        """Return the rows of a node, (size,), as a view."""
        start = self._start[node]
        return self._members[start : start + self.sizes[node]]

    def node_log_share(self) -> NDArray[np.float32]:
        """Return the log of each node's share of all traffic, (K,)."""
        prior = self._prior()
        mass = self._mass + prior * self.sizes
        share: NDArray[np.float64] = np.log(np.maximum(mass / max(mass.sum(), 1e-300), 1e-6))
        return share.astype(np.float32)

    def log_share_within(self, rows: NDArray[np.integer], nodes: NDArray[np.integer]) -> NDArray[np.float32]:
        """Return the log share (n,) of items `rows` (n,) in the traffic of `nodes` (n,): merge order's second term.

        An item need not be in the node: then the node's traffic is taken as no less than the item's own.
        """
        prior = self._prior()
        # The unit is that of items in nodes. One that is in none may be beyond what exp takes: above any total, too.
        masses = np.exp(np.minimum(self.log_mass[rows] - self._shift, 2 * _LARGEST_EXPONENT)) + prior
        totals = (self._mass + prior * self.sizes)[nodes]
        share: NDArray[np.float64] = np.log(np.maximum(masses, 1e-30)) - np.log(
            np.maximum(np.maximum(totals, masses), 1e-30)
        )
        return share.astype(np.float32)

    def candidates(
        self,
        node_logits: NDArray[np.float32],
        beam: int,
        budget: int,
        allow: Callable[[NDArray[np.int64]], NDArray[np.bool_]] | None = None,
    ) -> BeamCandidates:
        """Select the items to score for one request: the best `budget` allowed ones of the best `beam` nodes.

        `node_logits` (K,) are log probabilities up to a constant, -inf for nodes that the search did not reach; those
        and empty nodes are never opened.
        """
        ranked = np.where(self.sizes > 0, node_logits, -np.inf)
        beam = min(beam, int((ranked > -np.inf).sum()))
        if beam == 0:
            return BeamCandidates(np.zeros(0, np.int64), np.zeros(0), 0, 0)
        opened = np.argpartition(-ranked, beam - 1)[:beam]
        rows = np.concatenate([self.members(node) for node in opened])
        nodes = np.repeat(opened, self.sizes[opened])  # known from the lists: no gather of `node_of` per row
        if allow is not None:
            allowed = allow(rows)
            rows, nodes = rows[allowed], nodes[allowed]
        return self._select_by_key(rows, nodes, node_logits, budget)._replace(opened=beam)

    def whole_leaves(
        self,
        node_logits: NDArray[np.float32],
        opening: Opening,
        allow: Callable[[NDArray[np.int64]], NDArray[np.bool_]],
    ) -> BeamCandidates:
        """Select all allowed items of the best nodes, opened in order of their logits (K,), for one request.

        Keys are zero.
        """
        beam, dots, least = opening
        found: list[NDArray[np.int64]] = [np.zeros(0, np.int64)]
        opened = considered = 0
        for node in np.argsort(-node_logits, kind="stable").tolist():
            if considered >= dots or (opened >= beam and considered >= least) or node_logits[node] == -np.inf:
                break
            if self.sizes[node]:
                rows = self.members(node)
                found.append(rows[allow(rows)])
                opened, considered = opened + 1, considered + len(found[-1])
        return BeamCandidates(np.concatenate(found), np.zeros(considered), opened, considered)

    def select_best(self, rows: NDArray[np.int64], node_logits: NDArray[np.float32], budget: int) -> BeamCandidates:
        """Select the best `budget` of `rows` (n,) by merge order."""
        return self._select_by_key(rows, gather_rows(self.node_of, rows), node_logits, budget)

    def _select_by_key(
        self, rows: NDArray[np.int64], nodes: NDArray[np.integer], node_logits: NDArray[np.float32], budget: int
    ) -> BeamCandidates:
        """Select the `budget` rows with the largest keys, of rows (n,) in nodes (n,)."""
        prior, considered = self._prior(), len(rows)
        # The tiny constants keep nodes and items without traffic from log(0).
        totals = np.log(np.maximum(self._mass + prior * self.sizes, 1e-300))  # (K,)
        masses = np.exp(gather_rows(self.log_mass, rows) - self._shift)
        # log(P(node) * share of the item in its node); the node's terms are added once per node, not per row.
        keys = (node_logits - totals)[nodes] + np.log(masses + prior + 1e-300)
        if considered > budget:
            chosen = np.argpartition(-keys, budget - 1)[:budget]
            rows, keys = rows[chosen], keys[chosen]
        return BeamCandidates(rows, keys, 0, considered)

    def _prior(self) -> float:
        return _PRIOR * float(self._mass.sum()) / max(len(self), 1)

    def _settle_masses(self, before: NDArray[np.float64]) -> None:
        """Sum afresh the traffic of nodes that lost nearly all that they had `before` (K,)."""
        np.maximum(self._mass, 0.0, out=self._mass)
        drained = np.flatnonzero(self._mass < _NOISE * before)
        if len(drained):
            self._sum_afresh(drained.tolist(), float(before.max()))

    def _sum_afresh(self, nodes: list[int], before: float) -> None:
        """Sum afresh the traffic of nodes that lost nearly all of it: what subtraction leaves is rounding error.

        If all traffic is small against `before`, its unit is chosen anew. Rows are summed in ascending order: the order
        of the members differs after a restart, and the sum must not.
        """
        if float(self._mass.sum()) < _NOISE * before:
            self._sum_masses()
            return
        for node in nodes:
            self._mass[node] = np.exp(self.log_mass[np.sort(self.members(node))] - self._shift).sum()

    def _sum_masses(self) -> None:
        """Sum the traffic of all nodes, in units of the largest item's."""
        held = np.flatnonzero(self.node_of >= 0)
        largest = self.log_mass[held].max(initial=-np.inf)
        self._shift = float(largest) if np.isfinite(largest) else 0.0
        masses = np.exp(self.log_mass[held] - self._shift)
        self._mass = np.bincount(self.node_of[held], weights=masses, minlength=len(self.sizes)).astype(np.float64)
