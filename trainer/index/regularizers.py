"""Regularizers of the hierarchy against collapse: temperature, warm-up and two balance terms.

HSNN (arXiv 2408.06653) §4 raises alpha over the length of training, ``alpha_max * (t / t_max)^p``; a stream has no end,
so alpha saturates here. Its FLOPs balance is on soft statistics; OneShot's KL (2607.27475) on running hard ones.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hsnn.trainer.config.index import IndexConfig
from hsnn.trainer.index.batch import IndexOutput
from hsnn.trainer.index.hierarchy import parents_of

# Weight per step of the past in the running usage: a mean over about the last 50 steps.
_USAGE_MEMORY = 0.98


def sharpness_at(config: IndexConfig, events: int) -> float:
    """Return alpha after so many events: it rises from 1 to its limit, 63% of the way after `sharpness_ramp` events.

    Examples
    --------
    >>> config = IndexConfig(sharpness=11.0, sharpness_ramp=1000)
    >>> [round(sharpness_at(config, events), 2) for events in (0, 1000, 10**6)]
    [1.0, 7.32, 11.0]
    """
    if not config.sharpness_ramp:
        return config.sharpness
    return 1.0 + (config.sharpness - 1.0) * -math.expm1(-events / config.sharpness_ramp)


def warm_up_factor(config: IndexConfig, events: int) -> float:
    """Return the factor on the index losses after so many events; it rises linearly to 1."""
    return min(1.0, events / config.ramp) if config.ramp else 1.0


class NodeUsage:
    """Running share of uniformly drawn items in every node, by hard assignment.

    Attributes
    ----------
    shares : per level (K_l,) float32
    """

    def __init__(self, levels: tuple[int, ...]) -> None:
        self.shares: list[NDArray[np.float32]] = [np.full(count, 1 / count, np.float32) for count in levels]

    def update(self, view: IndexOutput) -> None:
        """Count the uniform draws of a step."""
        uniform = view.batch.uniform
        if len(uniform) == 0:
            return
        for level, path in enumerate(view.paths):
            drawn = np.bincount(path.nodes.numpy()[uniform], minlength=len(self.shares[level])) / len(uniform)
            mixed = _USAGE_MEMORY * self.shares[level] + (1 - _USAGE_MEMORY) * drawn
            self.shares[level] = mixed.astype(np.float32)

    def log_excess(self, level: int, siblings: int) -> Tensor:
        """Return the log ratio of each node's share to the mean share of its family, (families, siblings)."""
        shares = self.shares[level].reshape(-1, siblings)
        fair = np.maximum(shares.mean(1, keepdims=True), 1e-9)
        return torch.from_numpy(np.log(np.maximum(shares / fair, 1e-3)).astype(np.float32))


def kl_balance(view: IndexOutput, usage: NodeUsage) -> Tensor:
    """Compute OneShot's balance loss over all levels: it penalizes soft assignment to nodes above the mean share."""
    total = torch.zeros(())
    uniform = torch.from_numpy(view.batch.uniform)
    if len(uniform) == 0:
        return total
    for level, path in enumerate(view.paths):
        siblings = view.levels.hierarchy.family_size(level)
        excess = usage.log_excess(level, siblings)
        family = parents_of(path.nodes[uniform], siblings)
        total = total + (view.soft(level)[uniform] * excess[family]).sum(1).mean()
    return total


def flops_balance(view: IndexOutput) -> Tensor:
    """Compute HSNN's balance loss over all levels: number of nodes times the sum of their squared mean assignments."""
    total = torch.zeros(())
    uniform = torch.from_numpy(view.batch.uniform)
    if len(uniform) == 0:
        return total
    for level, path in enumerate(view.paths):
        siblings, count = view.levels.hierarchy.family_size(level), len(view.levels.hierarchy.codes[level])
        family = parents_of(path.nodes[uniform], siblings)
        held = torch.zeros(count // siblings, siblings).index_add(0, family, view.soft(level)[uniform])
        total = total + count * (held / len(uniform)).square().sum()
    return total
