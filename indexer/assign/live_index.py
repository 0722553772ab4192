"""The index of one version as the scheduler knows it, and the deltas that make it true again.

Deltas are planned one after the other, and after each of them no node is above its cap. So they have to be written in
this order. A call to Redis changes one shard: therefore a plan goes **shard by shard**, first what leaves, then what
enters or moves. So it takes two calls per shard, and an item is given no place that only a later call makes free.
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

RowFilter = Callable[[DeltaOp, Rows], NDArray[np.bool_]]
"""Which of some rows (n,) are dealt with now, by what would be done to them."""


class LiveIndex:
    """Which item is in which node of a version.

    Attributes
    ----------
    number
        The version.
    assigner
        Places items under the version's model.
    nodes : (rows,) int32
        -1 = not indexed; use `nodes_of_rows` for as many rows as the catalogue has.
    wanted : (rows,) int32
        Node that an item would be in if there were room, -1 = it is there, or nobody knows.
    room
        What the nodes hold and may hold.

    Parameters
    ----------
    wanted
        None: nobody knows.
    peak
        Most items that the version held at once.
    shards
        Over how many its items are spread.
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
        self._shards = shards
        self.capacity = NodeCapacity(
            assigner.rules, np.bincount(nodes[nodes >= 0], minlength=assigner.node_count), peak
        )

    def nodes_of_rows(self, rows: int) -> NDArray[np.int32]:
        """Nodes of the first `rows` rows, (rows,)."""
        self.nodes = grown(self.nodes, rows, -1)
        self.preferred, self._was_indexed = grown(self.preferred, rows, -1), grown(self._was_indexed, rows)
        return self.nodes[:rows]

    def node_of(self, row: int) -> int:
        """Node of a row, -1 if it is not indexed."""
        return int(self.nodes[row]) if row < len(self.nodes) else -1

    def node_sizes(self) -> NDArray[np.int64]:
        """Items per node, (K,)."""
        return self.capacity.sizes.copy()

    def pending_deltas(self, catalogue: ItemCatalogue, wanted: RowFilter | None = None) -> list[Delta]:
        """Deltas that bring the index in line with the catalogue: departures, arrivals, changed items.

        They are to be written in this order, and all of them: then no node is ever above its cap.
        """
        nodes = self.nodes_of_rows(len(catalogue))
        changed = np.array(sorted(catalogue.changed), np.int64)
        leaving, arriving = catalogue.due_for_expiry(nodes), catalogue.unassigned(nodes)
        moving = changed[(nodes[changed] >= 0) & ~np.isin(changed, leaving)]
        if wanted is not None:
            leaving, arriving = leaving[wanted("delete", leaving)], arriving[wanted("insert", arriving)]
        room = self.capacity.copy()
        for node in nodes[leaving].tolist():
            room.remove(node)
        deltas = [self._delete(catalogue, row) for row in self._by_shard(catalogue, leaving).tolist()]
        return deltas + self._put(catalogue, np.concatenate([arriving, moving]), room)

    def moves_to_nearer(self, catalogue: ItemCatalogue, rows: Rows) -> list[Delta]:
        """Deltas, in the order to write them, that take those of the indexed `rows` (n,) nearer that can be.

        Of the items of one shard the first ones get what room there is.
        """
        found = self._put(catalogue, rows, self.capacity.copy(), "nearer")
        return [delta for delta in found if delta.node != self.nodes[delta.row]]

    def apply(self, deltas: Iterable[Delta]) -> None:
        """Take note of deltas that were written."""
        for delta in deltas:
            if delta.op != "superseded":
                self.nodes_of_rows(delta.row + 1)
                self.capacity.remove(int(self.nodes[delta.row]))
                self.nodes[delta.row] = delta.node
                self._was_indexed[delta.row] |= delta.node >= 0
                if delta.node >= 0:
                    self.capacity.add(delta.node)

    def _by_shard(self, catalogue: ItemCatalogue, rows: Rows) -> Rows:
        """Rows (n,) shard by shard, in their order within one."""
        shards = shards_of([catalogue.ids[row] for row in rows.tolist()], self._shards)
        return rows[np.argsort(shards, kind="stable")]

    def _put(self, catalogue: ItemCatalogue, rows: Rows, room: NodeCapacity, reason: DeltaReason = "") -> list[Delta]:
        rows = self._by_shard(catalogue, rows)
        placed, before = self.assigner.assign(rows, catalogue.tokens[rows]), self.nodes[rows]
        nodes, self.preferred[rows] = place_in_order(self.assigner, placed, before, room)
        ops: list[DeltaOp] = ["insert" if node < 0 else "move" for node in before.tolist()]
        return [
            Delta(
                op,
                catalogue.epoch,
                row,
                catalogue.ids[row],
                node,
                pack_vector(vector),
                catalogue.features[row],
                int(catalogue.first[row]),
                int(catalogue.last[row]),
                int(catalogue.expires_at[row]),
                int(catalogue.sent_at[row]),
                reason or self._reason(op, row),
            )
            for op, row, node, vector in zip(ops, rows.tolist(), nodes.tolist(), placed.vectors, strict=True)
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
    """Nodes (rows,) of a version's base after its deltas; more rows if the deltas name new ones."""
    nodes = nodes.copy()
    for delta in deltas:
        if delta.op != "superseded":
            nodes = grown(nodes, delta.row + 1, -1)
            nodes[delta.row] = delta.node
    return nodes


def peak_items(nodes: NDArray[np.int32], deltas: Sequence[Delta]) -> int:
    """Most items that a version held at once: after its base of nodes (rows,), or after any of its deltas."""
    indexed = {int(row) for row in np.flatnonzero(nodes >= 0)}
    most = len(indexed)
    for delta in deltas:
        if delta.op == "delete":
            indexed.discard(delta.row)
        elif delta.op != "superseded":
            indexed.add(delta.row)
            most = max(most, len(indexed))
    return most
