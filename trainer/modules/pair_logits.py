"""Logits of pair facts: counting as a start, from which the model learns."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from hsnn.trainer.features.pair_facts import LIFT_RATE, OWN_FEATURES, OWN_RATE, SMOOTHING, PairFacts
from hsnn.trainer.messages import COVISIT_HALF_LIVES


class PairLogits(nn.Module):
    """What pair facts add to an item's logit.

    Co-visitation with counts C, smoothed with popularity p, gives an item the probability ``p + C / smoothing``, up
    to a factor. As a logit over ``log p``, which the state tower has, that is ``log(1 + C / (p * smoothing))``: the
    start, with a smoothing per half-life and a scale that are learned. Past items enter linearly, from zero.
    """

    def __init__(self) -> None:
        super().__init__()
        self.strength = nn.Parameter(torch.zeros(len(COVISIT_HALF_LIVES)))
        self.scale = nn.Parameter(torch.tensor(0.0))
        self.own = nn.Parameter(torch.zeros(OWN_FEATURES))

    def forward(self, facts: PairFacts) -> tuple[Tensor, Tensor]:
        """Compute the logits of both kinds of facts, (n,) and (m,)."""
        weights = torch.exp(LIFT_RATE * self.strength) / SMOOTHING
        lift = torch.log1p(torch.from_numpy(facts.lift) @ weights)
        return (1 + LIFT_RATE * self.scale) * lift, torch.from_numpy(facts.own) @ (OWN_RATE * self.own)
