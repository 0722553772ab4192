"""The index of one version as the scheduler knows it, and the deltas that make it true again."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from indexer.assignment import Assigner
from indexer.catalogue import Catalogue, Rows
from indexer.delta import Delta, Op, Reason, pack_vector
from trainer.arrays import grown


class LiveIndex:
    """Which item is in which node of a version.

    Attributes
    ----------
    number
        The version.
    assigner
        Places items under the version's model.
    nodes : (rows,) int32
        -1 = not indexed; use `node_column` for as many rows as the catalogue has.
    """

    def __init__(self, number: int, assigner: Assigner, nodes: NDArray[np.int32]) -> None:
        self.number = number
        self.assigner = assigner
        self.nodes = nodes.copy()
        self._was_indexed = self.nodes >= 0

    def node_column(self, rows: int) -> NDArray[np.int32]:
        """Nodes of the first `rows` rows, (rows,)."""
        self.nodes = grown(self.nodes, rows, -1)
        self._was_indexed = grown(self._was_indexed, rows)
        return self.nodes[:rows]

    def node_of(self, row: int) -> int:
        """Node of a row, -1 if it is not indexed."""
        return int(self.nodes[row]) if row < len(self.nodes) else -1

    def sizes(self) -> NDArray[np.int64]:
        """Items per node, (K,)."""
        return np.bincount(self.nodes[self.nodes >= 0], minlength=self.assigner.nodes)

    def pending(self, catalogue: Catalogue) -> list[Delta]:
        """Deltas that bring the index in line with the catalogue: departures, arrivals, changed items."""
        nodes = self.node_column(len(catalogue))
        changed = np.array(sorted(catalogue.changed), np.int64)
        leaving = catalogue.due_for_expiry(nodes)
        moving = changed[(nodes[changed] >= 0) & ~np.isin(changed, leaving)]
        deltas = [self._delete(catalogue, int(row)) for row in leaving]
        deltas += self._put("insert", catalogue, catalogue.unassigned(nodes))
        return deltas + self._put("move", catalogue, moving)

    def apply(self, deltas: Iterable[Delta]) -> None:
        """Take note of deltas that were written."""
        for delta in deltas:
            if delta.op != "superseded":
                self.node_column(delta.row + 1)
                self.nodes[delta.row] = delta.node
                self._was_indexed[delta.row] |= delta.node >= 0

    def _put(self, op: Op, catalogue: Catalogue, rows: Rows) -> list[Delta]:
        vectors, nodes = self.assigner.place(rows, catalogue.tokens[rows])
        return [
            Delta(
                op, catalogue.epoch, row, catalogue.ids[row], node, pack_vector(vector), catalogue.features[row],
                int(catalogue.first[row]), int(catalogue.last[row]), int(catalogue.expires_at[row]),
                int(catalogue.sent_at[row]), self._reason(op, row),
            )
            for row, node, vector in zip(rows.tolist(), nodes.tolist(), vectors, strict=True)
        ]  # fmt: skip

    def _reason(self, op: Op, row: int) -> Reason:
        if op == "move":
            return "changed"
        return "returned" if self._was_indexed[row] else "new"

    @staticmethod
    def _delete(catalogue: Catalogue, row: int) -> Delta:
        reason: Reason = "deleted" if catalogue.deleted[row] else "expired"
        return Delta("delete", catalogue.epoch, row, catalogue.ids[row], reason=reason)


def replayed(nodes: NDArray[np.int32], deltas: Sequence[Delta]) -> NDArray[np.int32]:
    """Nodes (rows,) of a version's base after its deltas; more rows if the deltas name new ones."""
    nodes = nodes.copy()
    for delta in deltas:
        if delta.op != "superseded":
            nodes = grown(nodes, delta.row + 1, -1)
            nodes[delta.row] = delta.node
    return nodes
