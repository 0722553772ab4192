"""Loss functions shared by the item level and the index learners."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def sampled_softmax_losses(logits: Tensor, log_q: Tensor, targets: Tensor) -> Tensor:
    """Compute the sampled softmax's cross-entropy of every user's target among the candidates.

    Parameters
    ----------
    logits : (B, n)
    log_q : (n,)
        Log of each candidate's expected count in the sample; subtracted, so that frequent negatives are not penalised
        for their frequency (the logQ correction, see `hsnn.trainer.features.sampling_frequency`).
    targets : (B,) int64
        Column of each user's engaged item.

    Returns
    -------
    (B,)
    """
    return functional.cross_entropy(logits - log_q, targets, reduction="none")


def dislike_losses(logits: Tensor, log_q: Tensor, targets: Tensor) -> Tensor:
    """Compute the logistic loss of disliked items: - log sigmoid(-z), z the score above that of the average item.

    Scores of a softmax have no zero of their own; the user's mean item, log mean exp(score) over the catalogue, is one.
    It is estimated from the candidates, and gets no gradient. So an item is pushed below what the user would be shown
    at random, the less the further below it is.

    Parameters
    ----------
    logits : (B, n)
    log_q : (n,)
        As in `sampled_softmax_losses`.
    targets : (B,) int64
        Column of each user's disliked item.

    Returns
    -------
    (B,)
    """
    mean_item = torch.logsumexp(logits.detach() - log_q, 1) - torch.logsumexp(-log_q, 0)
    return functional.softplus(logits.gather(1, targets.unsqueeze(1)).squeeze(1) - mean_item)
