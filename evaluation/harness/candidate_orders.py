"""Orders in which candidates could be scored, and what each would find at several budgets, from one set of scores."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from hsnn.evaluation.harness.query_batch import Field
from hsnn.trainer.retrieval.inverted_lists import Leaves

BUDGETS = (50, 100, 200, 500, 1000)
"""Budgets of the curves."""


def merge_order(field: Field, count: int) -> NDArray[np.int64]:
    """Places in the order in which the served path takes them, (B, count), -1 padded."""
    return _merged(field, field.state.index.leaves, count)


def traffic_order(field: Field, count: int) -> NDArray[np.int64]:
    """Places as `merge_order` gives them if an item's worth were its traffic alone, (B, count), -1 padded."""
    index, states = field.state.index, field.state.states
    leaves = Leaves(len(index.leaves.sizes))
    leaves.log_mass = np.full(len(index.leaves.node_of), -np.inf)
    leaves.log_mass[field.rows] = states.log_mass(field.rows, field.state.half_life, 0)
    leaves.assign_all(index.leaves.node_of)
    return _merged(field, leaves, count)


def whole_nodes_order(field: Field, count: int, *, dense: bool = False) -> NDArray[np.int64]:
    """Places node by node, (B, <= count + L), -1 padded; older items first.

    Nodes come by log probability, or, if `dense`, by that of one of their items: log probability less log size.
    """
    nodes = field.state.index.leaves.node_of[field.rows]  # (N,)
    members, sizes = np.argsort(nodes, kind="stable"), np.bincount(nodes, minlength=field.encoded.nodes.shape[1])
    bounds = np.r_[0, np.cumsum(sizes)]
    by_node = [members[start:stop] for start, stop in pairwise(bounds)]
    count += field.barred.shape[1]
    order = np.full((len(field), count), -1, np.int64)
    values = field.encoded.nodes - (np.log(np.maximum(sizes, 1)) if dense else 0)
    for number, value in enumerate(values):
        opened = np.argsort(-value, kind="stable")
        enough = int(np.searchsorted(np.cumsum(sizes[opened]), count)) + 1
        places = np.concatenate([by_node[node] for node in opened[:enough].tolist()])[:count]
        order[number, : len(places)] = places
    return order


def _merged(field: Field, leaves: Leaves, count: int) -> NDArray[np.int64]:
    alive, beam = field.state.alive(), field.state.index.config.beam
    order = np.full((len(field), count), -1, np.int64)
    for number, history in enumerate(field.queries.history_items):
        may = alive.copy()
        may[history[(history >= 0) & (history < len(may))]] = False
        rows = leaves.candidates(field.encoded.seen[number], beam, count, may.__getitem__).best_first()  # (<= count,)
        order[number, : len(rows)] = field.at(rows)
    return order
