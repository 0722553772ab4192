"""Placement: an item goes to its nearest node, unless it stays where it is, or that is full.

Who finds the node full goes to the nearest one with room, and `Seated.wanted` remembers where it would rather be: the
rolling sweep takes it there once there is room.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hsnn.indexer.assign.assigner import Assigner, Placement
from hsnn.indexer.assign.capacity import Room

Nodes = NDArray[np.int32]
_SPILLED_AT_ONCE = 2048  # rows of a matrix of distances to all nodes


class Seated(NamedTuple):
    """Nodes (n,) of some items, and the nodes (n,) that they would be in if there were room, -1 = they are."""

    nodes: Nodes
    wanted: Nodes


def seat(assigner: Assigner, placed: Placement, before: Nodes, room: Room) -> Seated:
    """Seat items one after the other, as deltas in this order do; after each of them every node is within its cap.

    Parameters
    ----------
    placed
        Of n items.
    before : (n,)
        Where they are now, -1 = nowhere.
    room
        Counts them as they go.
    """
    chosen = _settled(assigner, placed, before)
    nodes, wanted = chosen.copy(), np.full(len(chosen), -1, np.int32)
    for at, (node, old) in enumerate(zip(chosen.tolist(), before.tolist(), strict=True)):
        room.leave(old)
        if not room.free(node):
            distances = assigner.distances(placed.vectors[at : at + 1])[0]  # (K,)
            nodes[at], wanted[at] = _next_best(room, distances, old), node
        room.enter(int(nodes[at]))
    return Seated(nodes, wanted)


def seat_all(assigner: Assigner, placed: Placement, before: Nodes) -> Seated:
    """Seat the n items of a new version at once; of a node that is overfull the nearest stay, the others go on.

    `before` (n,) are their nodes in the version before, -1 = they were in none.
    """
    chosen = _settled(assigner, placed, before)
    nodes, wanted = chosen.copy(), np.full(len(chosen), -1, np.int32)
    sizes = np.bincount(chosen, minlength=assigner.nodes)
    cap = assigner.rules.cap(len(chosen), assigner.nodes)
    spilled = _beyond(assigner, placed.vectors, chosen, np.flatnonzero(sizes > cap), cap)
    room = Room(assigner.rules, np.minimum(sizes, cap), peak=len(chosen))
    for start in range(0, len(spilled), _SPILLED_AT_ONCE):
        part = spilled[start : start + _SPILLED_AT_ONCE]
        for at, distances in zip(part.tolist(), assigner.distances(placed.vectors[part]), strict=True):
            nodes[at], wanted[at] = _next_best(room, distances, int(before[at])), chosen[at]
            room.enter(int(nodes[at]))
    return Seated(nodes, wanted)


def _settled(assigner: Assigner, placed: Placement, before: Nodes) -> Nodes:
    """Nodes (n,) that items choose: the nearest, or their own if that is hardly farther."""
    nodes = placed.nodes.astype(np.int32)
    other = np.flatnonzero((before >= 0) & (before != nodes)) if assigner.rules.margin else np.zeros(0, np.int64)
    if len(other):
        vectors = placed.vectors[other]
        ours, theirs = assigner.distances_to(vectors, before[other]), assigner.distances_to(vectors, nodes[other])
        stays = other[_hardly_farther(ours, theirs, assigner.rules.margin)]
        nodes[stays] = before[stays]
    return nodes


def _hardly_farther(ours: NDArray[np.float32], theirs: NDArray[np.float32], margin: float) -> NDArray[np.bool_]:
    """Whether squared distances `ours` (n,) are within the margin of `theirs` (n,)."""
    near: NDArray[np.bool_] = np.sqrt(ours) <= (1 + margin) * np.sqrt(theirs)
    return near


def _next_best(room: Room, distances: NDArray[np.float32], before: int) -> int:
    """Nearest node with room, by distances (K,); the item's own if that has room and is hardly farther."""
    node = room.nearest_free(distances)
    if before >= 0 and room.free(before):
        own = _hardly_farther(distances[before : before + 1], distances[node : node + 1], room.rules.margin)
        return before if own[0] else node
    return node


def _beyond(
    assigner: Assigner, vectors: NDArray[np.float32], nodes: Nodes, overfull: NDArray[np.int64], cap: int
) -> NDArray[np.int64]:
    """Items (m,), in ascending order, that are not among the `cap` nearest of their overfull node."""
    spilled = [np.zeros(0, np.int64)]
    for node in overfull.tolist():
        members = np.flatnonzero(nodes == node)
        distances = assigner.distances_to(vectors[members], nodes[members])
        spilled.append(members[np.argsort(distances, kind="stable")[cap:]])
    return np.sort(np.concatenate(spilled))
