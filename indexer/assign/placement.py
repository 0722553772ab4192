"""Placement: an item goes to its nearest node, unless it stays where it is or that node is full.

An item whose node is full goes to the nearest one with room. `Placement.preferred` remembers the full node: the rolling
sweep moves the item there once there is room.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hsnn.indexer.assign.assigner import Assigner, Assignment
from hsnn.indexer.assign.capacity import NodeCapacity

Nodes = NDArray[np.int32]

# Rows of a matrix of distances to all nodes: 32 MB for 4096 nodes.
_SPILLED_PER_CHUNK = 2048


class Placement(NamedTuple):
    """Nodes (n,) of n items, and the full nodes (n,) that they would rather be in, -1 = they are in their node."""

    nodes: Nodes
    preferred: Nodes


def place_in_order(assigner: Assigner, assignment: Assignment, before: Nodes, capacity: NodeCapacity) -> Placement:
    """Place n items one after the other; after each of them every node is within its cap.

    The deltas of the items have to be written in the same order.

    Parameters
    ----------
    assigner
        Computes distances.
    assignment
        Vectors and nearest nodes of the items.
    before : (n,)
        Their nodes now, -1 = none.
    capacity
        Counts them as they are placed.
    """
    chosen = _choose_nodes(assigner, assignment, before)
    nodes, preferred = chosen.copy(), np.full(len(chosen), -1, np.int32)
    for index, (node, old) in enumerate(zip(chosen.tolist(), before.tolist(), strict=True)):
        capacity.remove(old)
        if not capacity.has_room(node):
            distances = assigner.distances(assignment.vectors[index : index + 1])[0]  # (K,)
            nodes[index], preferred[index] = _next_best(capacity, distances, old), node
        capacity.add(int(nodes[index]))
    return Placement(nodes, preferred)


def place_all(assigner: Assigner, assignment: Assignment, before: Nodes) -> Placement:
    """Place the n items of a new version at once; of an overfull node the nearest items stay, the others spill.

    `before` (n,) are their nodes in the version before, -1 = none.
    """
    chosen = _choose_nodes(assigner, assignment, before)
    nodes, preferred = chosen.copy(), np.full(len(chosen), -1, np.int32)
    sizes = np.bincount(chosen, minlength=assigner.node_count)
    cap = assigner.rules.node_cap(len(chosen), assigner.node_count)
    spilled = _spilled_items(assigner, assignment.vectors, chosen, overfull=np.flatnonzero(sizes > cap), cap=cap)
    capacity = NodeCapacity(assigner.rules, np.minimum(sizes, cap), peak=len(chosen))
    for start in range(0, len(spilled), _SPILLED_PER_CHUNK):
        chunk = spilled[start : start + _SPILLED_PER_CHUNK]
        for index, distances in zip(chunk.tolist(), assigner.distances(assignment.vectors[chunk]), strict=True):
            nodes[index], preferred[index] = _next_best(capacity, distances, int(before[index])), chosen[index]
            capacity.add(int(nodes[index]))
    return Placement(nodes, preferred)


def _choose_nodes(assigner: Assigner, assignment: Assignment, before: Nodes) -> Nodes:
    """Choose nodes (n,) without regard to room: the nearest, or the item's own if that is hardly farther."""
    nodes = assignment.nodes.astype(np.int32)
    moving = np.flatnonzero((before >= 0) & (before != nodes)) if assigner.rules.margin else np.zeros(0, np.int64)
    if len(moving):
        vectors = assignment.vectors[moving]
        own = assigner.distances_to(vectors, before[moving])
        nearest = assigner.distances_to(vectors, nodes[moving])
        staying = moving[_hardly_farther(own, nearest, assigner.rules.margin)]
        nodes[staying] = before[staying]
    return nodes


def _hardly_farther(own: NDArray[np.float32], nearest: NDArray[np.float32], margin: float) -> NDArray[np.bool_]:
    """Tell whether squared distances `own` (n,) are within the margin of `nearest` (n,)."""
    within_margin: NDArray[np.bool_] = np.sqrt(own) <= (1 + margin) * np.sqrt(nearest)
    return within_margin


def _next_best(capacity: NodeCapacity, distances: NDArray[np.float32], before: int) -> int:
    """Return the nearest node with room, by distances (K,), or its own if that has room and is not much farther."""
    node = capacity.nearest_with_room(distances)
    if before >= 0 and capacity.has_room(before):
        own, nearest = distances[before : before + 1], distances[node : node + 1]
        return before if _hardly_farther(own, nearest, capacity.rules.margin)[0] else node
    return node


def _spilled_items(
    assigner: Assigner, vectors: NDArray[np.float32], nodes: Nodes, *, overfull: NDArray[np.int64], cap: int
) -> NDArray[np.int64]:
    """List items (m,), in ascending order, that are not among the `cap` nearest of their overfull node."""
    spilled = [np.zeros(0, np.int64)]
    for node in overfull.tolist():
        members = np.flatnonzero(nodes == node)
        distances = assigner.distances_to(vectors[members], nodes[members])
        spilled.append(members[np.argsort(distances, kind="stable")[cap:]])
    return np.sort(np.concatenate(spilled))
