"""Loss functions shared by the item level and the index learners."""

from __future__ import annotations

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
