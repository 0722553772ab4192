"""Signals of the trainer's own index: balance of the nodes, dead ones, and items that change or ought to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hsnn.monitoring.observation import Observation
from hsnn.monitoring.watching.signal import GroupDeclaration, Signal, Sums, Value

# Nodes that are compared with all others: their mean similarity has a standard error below 0.02.
_COMPARED = 64

# Items whose node is compared with that of the window before: enough for a standard error below one point.
_SAMPLE = 4096

# Windows after which the vectors of items are computed again: as much work as all other signals of the index.
_EVERY = 4

SIGNALS = (
    Signal(name="index_max_over_mean", meaning="log of the fullest node's size over the mean", worse="up", floor=0.1),
    Signal(name="index_dead_share", meaning="share of the nodes without items", worse="up", floor=0.02),
    Signal(
        name="index_churn",
        meaning="share of the items that changed their node since the last window",
        worse="up",
        floor=0.02,
    ),
    Signal(
        name="index_similarity",
        meaning="mean cosine of a node's vector with that of the most similar other node",
        worse="up",
        floor=0.02,
    ),
    Signal(
        name="index_item_similarity",
        meaning="mean cosine of an item's vector with that of its node",
        worse="down",
        floor=0.005,
    ),
    Signal(
        name="index_stale_share",
        meaning="share of the items assigned anew that another node was nearest to",
        worse="up",
        floor=0.02,
        slow=True,
    ),
)


class IndexSignals:
    """Reads the nodes when a window closes; keeps the nodes of a sample of rows."""

    def __init__(self) -> None:
        self._stride, self._nodes, self._sums = 1, np.zeros(0, np.int32), Sums()
        self._windows = 0  # with nodes

    def update(self, observation: Observation) -> None:
        """Count the items that were assigned anew; the nodes are read when the window closes."""
        self._sums.add(assigned=observation.model.assigned, moved=observation.model.moved)

    def close(self, observation: Observation) -> Mapping[str, Value]:
        """Return balance, dead nodes, churn, similarities and staleness; NaN before there are nodes."""
        stale = self._sums.share("moved", "assigned")
        self._sums.clear()
        sizes = observation.node_sizes
        if not len(sizes) or not sizes.any():
            return dict.fromkeys((signal.name for signal in SIGNALS), float("nan"))
        cosines = observation.node_cosines() if self._windows % _EVERY == 0 else np.zeros(0, np.float32)
        self._windows += 1
        return {
            "index_max_over_mean": float(np.log(sizes.max() / sizes.mean())),
            "index_dead_share": float((sizes == 0).mean()),
            "index_churn": self._churn(observation.node_of),
            "index_similarity": _similarity(observation.node_vectors()),
            "index_item_similarity": float(cosines.mean()) if len(cosines) else float("nan"),
            "index_stale_share": stale,
        }

    def _churn(self, node_of: NDArray[np.int32]) -> float:
        stride = 1
        while len(node_of) > _SAMPLE * stride:
            stride *= 2  # so that half of the sample stays the same rows
        nodes, before = node_of[::stride].copy(), self._nodes[:: stride // self._stride or 1]
        common = slice(0, min(len(nodes), len(before)))
        both = (nodes[common] >= 0) & (before[common] >= 0)
        self._stride, self._nodes = stride, nodes
        return float((nodes[common] != before[common])[both].mean()) if both.any() else float("nan")

    def state_dict(self) -> dict[str, Any]:
        """Return the nodes of the sample, the open window, and how many there were."""
        nodes = self._nodes.astype("<i4").tobytes()
        sums = self._sums.state_dict()
        return {"stride": self._stride, "nodes": nodes, "sums": sums, "windows": self._windows}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore `state_dict`."""
        self._stride = int(state["stride"])
        self._nodes = np.frombuffer(state["nodes"], "<i4").astype(np.int32)
        self._sums.load_state_dict(state.get("sums", {}))  # younger than the others
        self._windows = int(state.get("windows", 0))  # the youngest


def _similarity(vectors: NDArray[np.float32]) -> float:
    """Compute the mean cosine of every so many-th of the vectors (K, d) with the most similar other one."""
    if len(vectors) < 2:
        return float("nan")
    unit = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), np.finfo(np.float32).tiny)
    compared = np.arange(0, len(unit), -(-len(unit) // _COMPARED))
    cosines = unit[compared] @ unit.T
    cosines[np.arange(len(compared)), compared] = -1  # itself
    return float(cosines.max(axis=1).mean())


GROUP = GroupDeclaration(IndexSignals, SIGNALS)
