"""LTI (learning to index) learner, trained jointly (JOIM): HSNN (arXiv 2408.06653) §4.

The item is the query of a cross-attention over the nodes. The result, its pseudo item, replaces it in the level's task
loss, and gradients flow through the soft assignment to both the item tower and the node vectors:

    a = softmax(-alpha * d^2),   cbar_l = sum_k a_k c_k,   r_(l+1) = r_l - cbar_l
    loss_l = softmax loss of M_l(u, cbar_1 + .. + cbar_l)
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from hsnn.trainer.index.batch import IndexOutput
from hsnn.trainer.index.hierarchy import soft_assignment
from hsnn.trainer.index.index_learner import IndexLearner
from hsnn.trainer.modules.losses import sampled_softmax_losses


class Lti(IndexLearner):
    """LTI learner: soft assignments in training, hard ones for publishing only."""

    detaches_items: ClassVar[bool] = False

    def loss(self, view: IndexOutput) -> Tensor:
        """Sum the sampled softmax of the users' level vectors against pseudo items over all levels."""
        step, hierarchy = view.batch, view.levels.hierarchy
        total, summed = torch.zeros(()), torch.zeros_like(view.projected)
        residual = view.projected
        parents: Tensor | None = None
        for level, path in enumerate(view.paths):
            soft = soft_assignment(hierarchy.assign_level(level, residual, parents).distances, view.sharpness)  # (U, F)
            codes = hierarchy.codes[level]
            if parents is None:
                pseudo = soft @ codes
            else:
                siblings = codes.view(-1, soft.shape[1], codes.shape[1])[parents]  # (U, F, d)
                pseudo = torch.bmm(soft.unsqueeze(1), siblings).squeeze(1)
            summed, residual, parents = summed + pseudo, residual - pseudo, path.nodes
            logits = pseudo_logits(view, level, summed)
            total = total + step.mean(sampled_softmax_losses(logits, step.log_q, step.targets))
        return self.config.joint * total


def pseudo_logits(view: IndexOutput, level: int, vectors: Tensor) -> Tensor:
    """Compute logits (B, U) of a level's users against one vector (U, d+1) per candidate, log-sum-exp over heads."""
    vectors = vectors[:, :-1]
    users = view.batch.users[level].reshape(len(view.batch.targets), -1, vectors.shape[1])  # (B, m, d)
    products = users.reshape(-1, vectors.shape[1]) @ vectors.T
    return torch.logsumexp(products.view(users.shape[0], users.shape[1], -1), 1)


LEARNER = Lti
