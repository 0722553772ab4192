"""Streaming VQ's learner (ByteDance, arXiv 2501.08695): node vectors are moving averages of their items.

    loss_ind = in-batch softmax on the item's node, straight-through to the item
    w_k <- a w_k + (1 - a) delta^beta r,   n_k <- a n_k + (1 - a) delta^beta,   c_k = w_k / n_k

``delta`` is the item's occurrence interval, here one over its expected count in a batch; rare items weigh more. The
assignment discount ``min(n_k / mean(n) * s, 1)`` on the distance favours small nodes; it is part of what is served.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor

from trainer.arrays import Array
from trainer.config import TrainerConfig
from trainer.index.hierarchy import Hierarchy
from trainer.index.learner import IndexLearner
from trainer.index.lti import pseudo_logits
from trainer.index.view import IndexView
from trainer.model import sampled_softmax

_BETA = 0.25


class StreamingVq(IndexLearner):
    """Nodes without gradients, items with.

    Attributes
    ----------
    sums : per level (K_l, d)
    counts : per level (K_l,)
    """

    detached: ClassVar[bool] = False
    task_moves_nodes: ClassVar[bool] = False
    differentiable: ClassVar[bool] = False

    def __init__(self, config: TrainerConfig) -> None:
        super().__init__(config)
        self.sums = [torch.zeros(count, config.model.dim) for count in config.model.levels]
        self.counts = [torch.zeros(count) for count in config.model.levels]

    def seeded(self, hierarchy: Hierarchy) -> None:
        """Every node starts as if it held one item."""
        self.sums = [codes.detach().clone() for codes in hierarchy.codes]
        self.counts = [torch.ones(len(codes)) for codes in hierarchy.codes]

    def loss(self, view: IndexView) -> Tensor:
        """Sum the indexing loss over all levels."""
        total, step = torch.zeros(()), view.step
        for level, path in enumerate(view.paths):
            nodes = view.levels.hierarchy.vectors(level)[path.nodes].detach()  # (U, d)
            passed = view.projected + (nodes - view.projected).detach()
            logits = pseudo_logits(view, level, passed)
            total = total + sampled_softmax(logits, step.log_q, step.targets, step.weight)
        return self.config.joint * total

    def after(self, view: IndexView) -> None:
        """Move nodes to the running mean of their items, and renew the discounts."""
        hierarchy, keep = view.levels.hierarchy, self.config.decay
        interval = torch.exp(-_BETA * view.step.log_q)  # (U,)
        for level, path in enumerate(view.paths):
            sums, counts = self.sums[level], self.counts[level]
            weighted = interval.unsqueeze(1) * path.residual.detach()
            held = torch.zeros_like(counts).index_add_(0, path.nodes, interval)
            used = held > 0
            added = torch.zeros_like(sums).index_add_(0, path.nodes, weighted)
            sums[used] = keep * sums[used] + (1 - keep) * added[used]
            counts[used] = keep * counts[used] + (1 - keep) * held[used]
            hierarchy.codes[level].data[used] = sums[used] / counts[used].unsqueeze(1)
            if self.config.discount:
                relative = counts / counts.mean() * self.config.discount
                hierarchy.discount(level).copy_(relative.clamp(0.05, 1.0))

    def state(self) -> dict[str, Array]:
        """Return sums and counts."""
        arrays = {f"sums_{level}": sums.numpy() for level, sums in enumerate(self.sums)}
        return arrays | {f"counts_{level}": counts.numpy() for level, counts in enumerate(self.counts)}

    def restore(self, arrays: Mapping[str, Array]) -> None:
        """Take over what `state` returned."""
        self.sums = [torch.from_numpy(arrays[f"sums_{level}"].copy()) for level in range(len(self.sums))]
        self.counts = [torch.from_numpy(arrays[f"counts_{level}"].copy()) for level in range(len(self.counts))]
