"""The page *Index*: nodes with their sizes, traffic and age, the items of one, versions and how they differ."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np

from hsnn.indexer.admin.diff import diff_versions
from hsnn.indexer.admin.stats import node_size_stats
from hsnn.indexer.errors import VersionNotFoundError
from hsnn.indexer.store.publish_hold import current_hold, epoch_differs
from hsnn.indexer.store.reader import IndexReader
from hsnn.serving.console.catalogue import card, title_of
from hsnn.serving.errors import ConsoleError
from hsnn.serving.mirror.mirror import Mirror

# Items listed of a node: those with the most traffic, a few screens of them.
_ITEMS_SHOWN = 60

# Items and nodes listed of a difference.
_DIFFERENCES_SHOWN = 20


def hierarchy(mirror: Mirror) -> dict[str, Any]:
    """Describe the nodes that hold the items, and the levels above them.

    Returns
    -------
    dict
        ``levels``: nodes per level, coarsest first; a node of one level has equally many children in the next.
        ``size``, ``traffic`` (share of all), ``age`` (median hours of event time since an item's first sign, None
        without items) and ``label`` (title of the item with the most traffic) by node of the last level; ``balance``.

    Raises
    ------
    NotReadyError
        No version has been loaded yet.
    """
    with mirror.reading():
        state = mirror.state
        leaves, levels, watermark = state.index.leaves, state.index.config.levels, state.watermark
        nodes, mass = leaves.node_of.copy(), leaves.log_mass.copy()  # (rows,)
        first = state.states.first[: len(nodes)].copy()  # (rows,)
        traffic = np.exp(leaves.node_log_share())  # (K,)
    rows = np.flatnonzero(nodes >= 0)
    rows = rows[rows < len(first)]
    count = levels[-1]
    by_mass = rows[np.lexsort((-mass[rows], nodes[rows]))]  # node by node, the most traffic first
    present, start = np.unique(nodes[by_mass], return_index=True)
    top = dict(zip(present.tolist(), by_mass[start].tolist(), strict=True))
    by_first = rows[np.lexsort((first[rows], nodes[rows]))]
    sizes = np.bincount(nodes[rows], minlength=count)  # (K,)
    middle = np.cumsum(sizes) - sizes + sizes // 2
    with mirror.pinned():
        items = mirror.state.items
        labels = [
            title_of(items.features.features(top[node])) or items.ids.ids[top[node]]
            if top.get(node, len(items.ids)) < len(items.ids)
            else ""
            for node in range(count)
        ]
    age = [
        round((watermark - int(first[by_first[middle[node]]])) / 3_600_000, 2) if sizes[node] else None
        for node in range(count)
    ]
    return {
        "version": mirror.version,
        "levels": list(levels),
        "size": sizes.tolist(),
        "traffic": np.round(traffic, 6).tolist(),
        "age": age,
        "label": labels,
        "balance": node_size_stats(nodes[rows], count)._asdict(),
    }


def node_items(mirror: Mirror, node: int) -> dict[str, Any]:
    """List the items of a node, those with the most traffic first.

    Raises
    ------
    ConsoleError
        There is no such node.
    NotReadyError
        No version has been loaded yet.
    """
    with mirror.reading():
        state = mirror.state
        leaves = state.index.leaves
        if not 0 <= node < len(leaves.sizes):
            raise ConsoleError(f"there is no node {node}; the nodes are 0 to {len(leaves.sizes) - 1}", 404)
        rows = leaves.members(node)
        mass = leaves.log_mass[rows]
        chosen = rows[np.argsort(-mass, kind="stable")[:_ITEMS_SHOWN]].tolist()
        items = [card(state, row) | {"first": int(state.states.first[row])} for row in chosen]
        return {"node": node, "size": len(rows), "items": items, "watermark": state.watermark}


def list_versions(reader: IndexReader) -> dict[str, Any]:
    """List the versions that are kept, newest first, which is in use, and why publishing is held, if it is."""
    versions = []
    for number in reversed(reader.versions()):
        try:
            versions.append(msgspec.to_builtins(reader.manifest(number)))
        except VersionNotFoundError:
            continue  # removed meanwhile
    hold = current_hold(reader)
    return {
        "current": reader.current(),
        "versions": versions,
        "hold": None if hold is None else msgspec.to_builtins(hold),
        "cut_off": hold is not None and epoch_differs(reader),
    }


def version_difference(reader: IndexReader, before: int, after: int) -> dict[str, Any]:
    """Compare two versions as they are now: what came, left and moved, and the nodes that changed most.

    Returns
    -------
    dict
        ``by_node`` has the items that entered and left each node of the later version: ``came`` and ``went``, (K,).

    Raises
    ------
    ConsoleError
        One of them does not exist.
    """
    try:
        found = diff_versions(reader, before, after)
    except VersionNotFoundError as error:
        raise ConsoleError(str(error), 404) from error
    count = reader.manifest(after).nodes
    by_node = {name: [0] * count for name in ("came", "went")}
    for change in found.nodes:
        if change.node < count:  # the version before may have had more
            by_node["came"][change.node], by_node["went"][change.node] = change.came, change.went
    return {
        "before": before,
        "after": after,
        "came": len(found.only_after),
        "left": len(found.only_before),
        "moved": len(found.moved),
        "common": found.common,
        "some_came": found.only_after[:_DIFFERENCES_SHOWN],
        "some_left": found.only_before[:_DIFFERENCES_SHOWN],
        "nodes": [change._asdict() for change in found.nodes[:_DIFFERENCES_SHOWN]],
        "by_node": by_node,
    }
