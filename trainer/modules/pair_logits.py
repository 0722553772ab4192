"""Logits of pair facts: counting as a start, from which the model learns."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from hsnn.trainer.features.pair_facts import OWN_FEATURES, PairFacts
from hsnn.trainer.messages import COVISIT_HALF_LIVES

# Popularity that smooths co-visitation before anything is learned, in pairs: 10 to 30 are best on all streams tried.
_SMOOTHING = 15.0

# Factors of the weights below. Adam moves a weight by its rate, 0.002, per step; these few have to follow a stream
# within some hundred steps, and are no larger than others times their factor.
_LIFT_RATE, _OWN_RATE = 20.0, 5.0


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
        weights = torch.exp(_LIFT_RATE * self.strength) / _SMOOTHING
        lift = torch.log1p(torch.from_numpy(facts.lift) @ weights)
        return (1 + _LIFT_RATE * self.scale) * lift, torch.from_numpy(facts.own) @ (_OWN_RATE * self.own)
