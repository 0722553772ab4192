"""LiveIndex: the index of one version as the scheduler knows it, and the deltas that bring it up to date.

Deltas are planned one after the other so that after each of them no node is above its cap; they have to be written in
this order. A call to Redis changes one shard, therefore a plan goes **shard by shard**: first items that leave, then
items that enter or move. So it takes two calls per shard, and no item is placed into room that only a later call makes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from hsnn.indexer.assign.assigner import Assigner
from hsnn.indexer.assign.capacity import NodeCapacity
from hsnn.indexer.assign.catalogue import ItemCatalogue, Rows
from hsnn.indexer.assign.placement import place_in_order
from hsnn.indexer.store.delta import Delta, DeltaOp, DeltaReason, pack_vector
from hsnn.indexer.store.shards import shards_of
from hsnn.trainer.rowstore.arrays import grown
from hsnn.trainer.rowstore.dirty_rows import DirtyRows

RowFilter = Callable[[DeltaOp, Rows], NDArray[np.bool_]]
"""Select the rows (n,) that are dealt with now, by what would be done to them; returns a mask (n,)."""


class LiveIndex:
    """The node of every item of a version, and how full the nodes are.

    Attributes
    ----------
    number
        The version.
    assigner
        Encodes items under the version's model.
    nodes : (rows,) int32
        -1 = not indexed; `nodes_of_rows` extends it to as many rows as the catalogue has.
    preferred : (rows,) int32
        Full node that an item would rather be in, -1 = it is in its node, or that is unknown.
    capacity
        Items per node, and how many there may be.

    Parameters
    ----------
    preferred
        None: unknown.
    peak
        Most items that the version held at once.
    shards
        Number of shards that its items are spread over.
    """

    def __init__(
        self,
        number: int,
        assigner: Assigner,
        nodes: NDArray[np.int32],
        preferred: NDArray[np.int32] | None = None,
        peak: int = 0,
        shards: int = 1,
    ) -> None:
        self.number = number
        self.assigner = assigner
        self.nodes = nodes.copy()
        self.preferred = np.full(len(nodes), -1, np.int32) if preferred is None else preferred.copy()
        self._was_indexed = self.nodes >= 0
        self._unsettled = DirtyRows()  # may be indexed and not alive, or alive and not indexed
        self._unsettled.add(np.flatnonzero(self._was_indexed))
        self._shards = shards
        self.capacity = NodeCapacity(
            assigner.rules, np.bincount(nodes[nodes >= 0], minlength=assigner.node_count), peak
        )

    def nodes_of_rows(self, rows: int) -> NDArray[np.int32]:
        """Return the nodes of the first `rows` rows, (rows,)."""
        self.nodes = grown(self.nodes, rows, -1)
        self.preferred, self._was_indexed = grown(self.preferred, rows, -1), grown(self._was_indexed, rows)
        return self.nodes[:rows]

    def node_of(self, row: int) -> int:
        """Return the node of a row, -1 if it is not indexed."""
        return int(self.nodes[row]) if row < len(self.nodes) else -1

    def node_sizes(self) -> NDArray[np.int64]:
        """Count the items per node, (K,)."""
        return self.capacity.sizes.copy()

    def pending_deltas(self, catalogue: ItemCatalogue, select: RowFilter | None = None) -> list[Delta]:
        """Plan the deltas that bring the index in line with the catalogue: departures, arrivals, changed items.

        They have to be written in this order, and all of them: then no node is ever above its cap. With `select`, only
        departures and arrivals that it selects are planned. The catalogue is always the same: what has changed in it
        since the last call is asked for, and what of that was not written yet is remembered.
        """
        nodes = self.nodes_of_rows(len(catalogue))
        changed = np.array(sorted(catalogue.changed), np.int64)
        self._unsettled.add(catalogue.drain_changed_lives())
        rows = self._unsettled.drain()
        known, later = rows[rows < len(nodes)], rows[rows >= len(nodes)]
        leaving, arriving = catalogue.leaving_and_arriving(known, nodes[known])
        for unsettled in (leaving, arriving, later):
            self._unsettled.add(unsettled)
        moving = changed[(nodes[changed] >= 0) & ~np.isin(changed, leaving)]
        if select is not None:
            leaving, arriving = leaving[select("delete", leaving)], arriving[select("insert", arriving)]
        capacity = self.capacity.copy()
        for node in nodes[leaving].tolist():
            capacity.remove(node)
        deltas = [self._delete(catalogue, row) for row in self._by_shard(catalogue, leaving).tolist()]
        return deltas + self._place(catalogue, np.concatenate([arriving, moving]), capacity)

    def moves_to_nearer(self, catalogue: ItemCatalogue, rows: Rows) -> list[Delta]:
        """Plan the deltas that move indexed `rows` (n,) to a nearer node where there is room.

        They have to be written in this order. Of the items of one shard, the first ones get the room.
        """
        deltas = self._place(catalogue, rows, self.capacity.copy(), "nearer")
        return [delta for delta in deltas if delta.node != self.nodes[delta.row]]

    def apply(self, deltas: Iterable[Delta]) -> None:
        """Apply deltas that were written."""
        applied = [delta for delta in deltas if delta.op != "superseded"]
        self._unsettled.add([delta.row for delta in applied])
        for delta in applied:
            self.nodes_of_rows(delta.row + 1)
            self.capacity.remove(int(self.nodes[delta.row]))
            self.nodes[delta.row] = delta.node
            self._was_indexed[delta.row] |= delta.node >= 0
            if delta.node >= 0:
                self.capacity.add(delta.node)

    def _by_shard(self, catalogue: ItemCatalogue, rows: Rows) -> Rows:
        """Sort rows (n,) by shard; the order within a shard is kept."""
        shards = shards_of([catalogue.ids[row] for row in rows.tolist()], self._shards)
        return rows[np.argsort(shards, kind="stable")]

    def _place(
        self, catalogue: ItemCatalogue, rows: Rows, capacity: NodeCapacity, reason: DeltaReason = ""
    ) -> list[Delta]:
        """Place the items of rows (n,) shard by shard, and make a delta of each."""
        rows = self._by_shard(catalogue, rows)
        assignment, before = self.assigner.assign(rows, catalogue.tokens[rows]), self.nodes[rows]
        nodes, self.preferred[rows] = place_in_order(self.assigner, assignment, before, capacity)
        ops: list[DeltaOp] = ["insert" if node < 0 else "move" for node in before.tolist()]
        return [
            Delta(
                op,
                epoch=catalogue.epoch,
                row=row,
                item=catalogue.ids[row],
                node=node,
                packed=pack_vector(vector),
                features=catalogue.features[row],
                first=int(catalogue.first[row]),
                last=int(catalogue.last[row]),
                expires_at=int(catalogue.expires_at[row]),
                sent_at=int(catalogue.sent_at[row]),
                reason=reason or self._reason(op, row),
            )
            for op, row, node, vector in zip(ops, rows.tolist(), nodes.tolist(), assignment.vectors, strict=True)
        ]

    def _reason(self, op: DeltaOp, row: int) -> DeltaReason:
        if op == "move":
            return "changed"
        return "returned" if self._was_indexed[row] else "new"

    @staticmethod
    def _delete(catalogue: ItemCatalogue, row: int) -> Delta:
        reason: DeltaReason = "deleted" if catalogue.deleted[row] else "expired"
        return Delta("delete", catalogue.epoch, row, catalogue.ids[row], reason=reason)


def replay_nodes(nodes: NDArray[np.int32], deltas: Sequence[Delta]) -> NDArray[np.int32]:
    """Apply deltas to the nodes (rows,) of a version's base; more rows if the deltas name new ones."""
    nodes = nodes.copy()
    for delta in deltas:
        if delta.op != "superseded":
            nodes = grown(nodes, delta.row + 1, -1)
            nodes[delta.row] = delta.node
    return nodes


def peak_items(nodes: NDArray[np.int32], deltas: Sequence[Delta]) -> int:
    """Return the most items that a version held at once: after its base of nodes (rows,), or after any delta."""
    indexed = {int(row) for row in np.flatnonzero(nodes >= 0)}
    peak = len(indexed)
    for delta in deltas:
        if delta.op == "delete":
            indexed.discard(delta.row)
        elif delta.op != "superseded":
            indexed.add(delta.row)
            peak = max(peak, len(indexed))
    return peak
