"""Test-time training: extra positive pairs <user, node> for the levels, from nodes that a user engages with.

HILL (arXiv 2604.12965): beam-search for the user, take a relevant leaf, and walk bottom-up; every node on the way is a
pair ``<user, node>``, filtered by depth (phi_dep) and by interest rate (phi_ir): the share of the node's children that
the user engaged with. Children of a leaf are its items.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hsnn.trainer.config.index import IndexConfig
from hsnn.trainer.index.batch import IndexOutput
from hsnn.trainer.index.objective import opened_nodes
from hsnn.trainer.retrieval.inverted_lists import InvertedLists


@torch.no_grad()
def select_test_time_pairs(
    view: IndexOutput,
    config: IndexConfig,
    beam: int,
    leaves: InvertedLists,
    history: NDArray[np.integer],
    items: NDArray[np.int64],
) -> list[Tensor]:
    """Select the pairs <user, node of the target> to train on: per level (B,) float32 of 0 and 1.

    A leaf is relevant if the beam search for the user keeps it and it holds the user's next item.

    Parameters
    ----------
    leaves
        Where items are now.
    history : (B, L)
        Rows of the users' last items, -1 padded.
    items : (B,)
        Rows of their next ones.
    """
    targets = view.batch.targets
    opened = opened_nodes(view, beam)[-1].nodes  # (B, b) leaves
    relevant = (opened == view.paths[-1].nodes[targets].unsqueeze(1)).any(1).float()  # (B,)
    engaged = np.concatenate([history, items[:, None]], 1)  # (B, L+1) rows
    kept = []
    for level, path in enumerate(view.paths):
        nodes = path.nodes[targets].numpy()
        rate = interest_rate(
            levels=view.levels.hierarchy.levels, level=level, nodes=nodes, leaves=leaves, engaged=engaged
        )
        deep = len(view.paths) - level <= config.test_time_depth
        kept.append(relevant * torch.from_numpy((rate >= config.test_time_interest).astype(np.float32)) * float(deep))
    return kept


def interest_rate(
    levels: tuple[int, ...], level: int, nodes: NDArray[np.int64], leaves: InvertedLists, engaged: NDArray[np.integer]
) -> NDArray[np.float64]:
    """Compute the share (B,) of the children of `nodes` (B,) that users engaged with; `engaged` (B, E) are item rows.

    Children that hold no item do not count.
    """
    leaf = np.where(engaged >= 0, leaves.node_of[np.maximum(engaged, 0)], -1)  # (B, E)
    node = np.where(leaf >= 0, leaf // (levels[-1] // levels[level]), -1)
    inside = node == nodes[:, None]
    if level + 1 == len(levels):
        children, there = engaged, leaves.sizes
    else:
        below = levels[-1] // levels[level + 1]
        children = np.where(leaf >= 0, leaf // below, -1)
        held = leaves.sizes.reshape(levels[level + 1], below).sum(1) > 0
        there = held.reshape(levels[level], -1).sum(1)
    # Count distinct children per row: in a sorted row, those that differ from their left neighbour.
    ordered = np.sort(np.where(inside, children, -1), 1)
    distinct = (ordered >= 0) & np.c_[np.ones(len(ordered), np.bool_), ordered[:, 1:] != ordered[:, :-1]]
    rate: NDArray[np.float64] = distinct.sum(1) / np.maximum(there[nodes], 1)
    return np.minimum(rate, 1.0)
