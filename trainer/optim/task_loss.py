"""Task logits of labelled items, and their cross-entropy loss."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from hsnn.trainer.model.monn import Monn, UserVectors
from hsnn.trainer.optim.batch import LabelledItems
from hsnn.trainer.retrieval.inverted_lists import InvertedLists


def task_logits(
    monn: Monn, judged: LabelledItems, users: UserVectors, items: Tensor, leaves: InvertedLists, *, seeded: bool
) -> Tensor:
    """Compute the task logits (J, A) of labelled items with static vectors (J, W), shown to `users`."""
    with torch.no_grad():
        nodes = leaves.node_of[judged.items]
        log_p = monn.log_probs(users, torch.from_numpy(leaves.node_log_share()))
        coarse = log_p.gather(1, torch.from_numpy(np.maximum(nodes, 0).astype(np.int64)).unsqueeze(1)).squeeze(1)
        # An item without a leaf counts as one in the user's least probable leaf.
        coarse = torch.where(torch.from_numpy(nodes >= 0), coarse, log_p.amin(1)) * float(seeded)
    cross = None if judged.cross is None else torch.from_numpy(judged.cross)
    return monn.task_logits(
        monn.over_arch_inputs_of_pairs(
            users=users, vectors=items, states=torch.from_numpy(judged.states), coarse=coarse, cross=cross
        )
    )


def task_loss(logits: Tensor, judged: LabelledItems, total: int) -> Tensor:
    """Compute the weighted cross-entropy () of j labelled items out of `total`, as a term of the mean over all."""
    labels, weights = torch.from_numpy(judged.labels), torch.from_numpy(judged.task_weights)
    losses = functional.binary_cross_entropy_with_logits(logits, labels, reduction="none") * weights  # (j, A)
    return losses.sum(1).sum() / total
