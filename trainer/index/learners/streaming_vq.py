"""Streaming VQ learner (ByteDance, arXiv 2501.08695): node vectors are moving averages of their items.

    loss_ind = in-batch softmax on the item's node, straight-through to the item
    w_k <- a w_k + (1 - a) delta^beta r,   n_k <- a n_k + (1 - a) delta^beta,   c_k = w_k / n_k

``delta`` is the item's occurrence interval, here one over its expected count in a batch; rare items weigh more. The
assignment discount ``min(n_k / mean(n) * s, 1)`` on the distance favours small nodes; it is published with the nodes,
and the mean is over a node's siblings. ``w_k = n_k c_k`` is not stored, so a revived or snapped node keeps its place.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor

from hsnn.trainer.config.model import TrainerConfig
from hsnn.trainer.index.batch import IndexOutput
from hsnn.trainer.index.hierarchy import Hierarchy
from hsnn.trainer.index.index_learner import IndexLearner
from hsnn.trainer.index.learners.lti import pseudo_logits
from hsnn.trainer.modules.losses import sampled_softmax_losses
from hsnn.trainer.rowstore.arrays import Array

# Exponent of the occurrence interval, no unit: an item a tenth as frequent weighs 10^0.25 = 1.8 times as much.
_BETA = 0.25
# Lower bound of the discount factor, no unit: a node that holds nothing must not attract every item.
_LARGEST_HELP = 0.05


class StreamingVq(IndexLearner):
    """Streaming VQ learner: gradients go to the items, and none to the nodes.

    Attributes
    ----------
    counts : per level (K_l,)
        n_k, in weighted items per batch.
    """

    detaches_items: ClassVar[bool] = False
    task_loss_moves_nodes: ClassVar[bool] = False
    differentiable_assignment: ClassVar[bool] = False

    def __init__(self, config: TrainerConfig) -> None:
        super().__init__(config)
        self.counts = [torch.ones(count) for count in config.model.levels]

    def loss(self, view: IndexOutput) -> Tensor:
        """Sum the indexing loss over all levels."""
        total, step = torch.zeros(()), view.batch
        for level, path in enumerate(view.paths):
            nodes = view.levels.hierarchy.node_vectors(level)[path.nodes].detach()  # (U, d)
            passed = view.projected + (nodes - view.projected).detach()
            logits = pseudo_logits(view, level, passed)
            total = total + step.mean(sampled_softmax_losses(logits, step.log_q, step.targets))
        return self.config.joint * total

    def after_step(self, view: IndexOutput) -> None:
        """Move nodes to the running mean of their items, and renew the discounts."""
        hierarchy, keep = view.levels.hierarchy, self.config.decay
        weight = torch.exp(-_BETA * view.batch.log_q)  # (U,)
        for level, path in enumerate(view.paths):
            codes, counts = hierarchy.codes[level].data, self.counts[level]
            held = torch.zeros_like(counts).index_add_(0, path.nodes, weight)
            added = torch.zeros_like(codes).index_add_(0, path.nodes, weight.unsqueeze(1) * path.residual.detach())
            used = held > 0
            before, counts[:] = counts[used].unsqueeze(1), keep * counts + (1 - keep) * held
            codes[used] = (keep * before * codes[used] + (1 - keep) * added[used]) / counts[used].unsqueeze(1)
            self._renew_discount(hierarchy, level)

    def _renew_discount(self, hierarchy: Hierarchy, level: int) -> None:
        if self.config.discount:
            counts = self.counts[level].view(-1, hierarchy.family_size(level))  # (families, F)
            relative = self.config.discount * counts / counts.mean(1, keepdim=True).clamp_min(1e-30)
            hierarchy.discount(level).copy_(relative.clamp(_LARGEST_HELP, 1.0).flatten())

    def state_dict(self) -> dict[str, Array]:
        """Return the counts."""
        return {f"counts_{level}": counts.numpy() for level, counts in enumerate(self.counts)}

    def load_state_dict(self, arrays: Mapping[str, Array]) -> None:
        """Load what `state_dict` returned."""
        self.counts = [torch.from_numpy(arrays[f"counts_{level}"].copy()) for level in range(len(self.counts))]


LEARNER = StreamingVq
