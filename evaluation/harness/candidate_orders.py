"""Orders in which candidates could be scored; one set of scores then gives the recall of each at several budgets."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from hsnn.evaluation.queries.query_batch import QueryBatch
from hsnn.trainer.retrieval.inverted_lists import InvertedLists


def merge_order(queries: QueryBatch, count: int) -> NDArray[np.int64]:
    """Order of the served path, as positions (B, count), -1 padded."""
    return _merge(queries, queries.state.index.leaves, count)


def traffic_order(queries: QueryBatch, count: int) -> NDArray[np.int64]:
    """Order of `merge_order` if an item's prior were its traffic alone, as positions (B, count), -1 padded."""
    index, states = queries.state.index, queries.state.states
    leaves = InvertedLists(len(index.leaves.sizes))
    leaves.log_mass = np.full(len(index.leaves.node_of), -np.inf)
    leaves.log_mass[queries.rows] = states.log_mass(queries.rows, queries.state.half_life, 0)
    leaves.assign_all(index.leaves.node_of)
    return _merge(queries, leaves, count)


def whole_nodes_order(queries: QueryBatch, count: int, *, dense: bool = False) -> NDArray[np.int64]:
    """Order node by node, older items first, as positions (B, <= count + E), -1 padded.

    Nodes come by log probability; if `dense`, by the log probability of one of their items (less log size).
    """
    nodes = queries.state.index.leaves.node_of[queries.rows]  # (N,)
    members, sizes = (
        np.argsort(nodes, kind="stable"),
        np.bincount(nodes, minlength=queries.encoded.leaf_log_probs.shape[1]),
    )
    bounds = np.r_[0, np.cumsum(sizes)]
    by_node = [members[start:stop] for start, stop in pairwise(bounds)]
    count += queries.excluded.shape[1]  # excluded items use no budget, and at most E of the first are excluded
    order = np.full((len(queries), count), -1, np.int64)
    values = queries.encoded.leaf_log_probs - (np.log(np.maximum(sizes, 1)) if dense else 0)
    for number, value in enumerate(values):
        by_value = np.argsort(-value, kind="stable")
        opened = int(np.searchsorted(np.cumsum(sizes[by_value]), count)) + 1
        positions = np.concatenate([by_node[node] for node in by_value[:opened].tolist()])[:count]
        order[number, : len(positions)] = positions
    return order


ORDERS: dict[str, Callable[[QueryBatch, int], NDArray[np.int64]]] = {
    "merge": merge_order,
    "merge_traffic": traffic_order,
    "whole_nodes": whole_nodes_order,
    "whole_nodes_dense": partial(whole_nodes_order, dense=True),
}
"""Functions by the names of `hsnn.evaluation.methods.CANDIDATE_ORDERS`."""


def _merge(queries: QueryBatch, leaves: InvertedLists, count: int) -> NDArray[np.int64]:
    alive, beam = queries.state.alive(), queries.state.index.config.beam
    order = np.full((len(queries), count), -1, np.int64)
    for number, excluded in enumerate(queries.sampled.excluded):
        allowed = alive.copy()
        allowed[excluded[(excluded >= 0) & (excluded < len(allowed))]] = False
        candidates = leaves.candidates(queries.encoded.beam_log_probs[number], beam, count, allowed.__getitem__)
        rows = candidates.rows_by_key()  # (<= count,)
        order[number, : len(rows)] = queries.positions(rows)
    return order
