"""A toy of levels without learner or world: users, items and nodes are random vectors, everything is small."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from hsnn.trainer.config.index import IndexConfig
from hsnn.trainer.config.model import ModelConfig, TrainerConfig
from hsnn.trainer.distributed.shard import StepTotals
from hsnn.trainer.index.batch import IndexBatch, IndexOutput
from hsnn.trainer.index.levels import Levels, level_log_shares
from hsnn.trainer.index.objective import IndexObjective

LEVELS = {1: {"nodes": 12}, 2: {"nodes": 4, "children": (3,)}, 3: {"nodes": 3, "children": (2, 2)}}
"""Models of one, two and three learned levels with twelve leaves each."""


@dataclass
class Toy:
    """B users against U candidates on random nodes."""

    config: TrainerConfig
    levels: Levels
    step: IndexBatch

    @property
    def objective(self) -> IndexObjective:
        return IndexObjective(self.config)

    def view(self) -> IndexOutput:
        return self.objective.forward(self.levels, self.step)

    def plain_beam(self, user: int, width: int) -> list[dict[int, float]]:
        """Search level by level for one user, with loops: nodes scored on each level, with log probabilities."""
        model, made = self.config.model, self.levels
        shares = level_log_shares(self.step.leaf_log_share, model.levels)
        found: list[dict[int, float]] = []
        for level in range(len(model.levels)):
            count, scored = made.hierarchy.family_size(level), {}
            opened = sorted(found[-1], key=found[-1].__getitem__, reverse=True)[:width] if found else [0]
            heads, vectors = self.step.users[level][user].view(-1, model.dim), made.node_features(level)
            over_arch = made.over_archs[level]
            for family in opened:
                nodes = range(family * count, (family + 1) * count)
                logits = torch.stack(
                    [
                        torch.logsumexp(heads @ vectors[k], 0) + over_arch.bias[k] + over_arch.share * shares[level][k]
                        for k in nodes
                    ]
                )
                coarse = float(made.ensemble[level - 1].detach()) * found[-1][family] if found else 0.0
                own = torch.log_softmax(logits, 0).tolist()
                scored |= {node: log_p + coarse for node, log_p in zip(nodes, own, strict=True)}
            found.append(scored)
        return found

    @property
    def base(self) -> Tensor:
        """The items, a leaf that collects gradients."""
        return self.step.base


def make_toy(
    levels: int = 2, users: int = 7, items: int = 15, seed: int = 0, learner: str = "oneshot", **index: Any
) -> Toy:
    rng = np.random.default_rng(seed)
    torch.manual_seed(seed)
    model = ModelConfig(dim=3, node_heads=2, beam=3, **LEVELS[levels])
    config = TrainerConfig(model=model, index=IndexConfig(learner=learner, **index))
    made = Levels(model)
    with torch.no_grad():
        for weights in made.parameters():
            weights.copy_(torch.randn(weights.shape))
    share = rng.random(model.leaves) + 0.1
    targets = torch.from_numpy(rng.integers(items, size=users))
    weight = torch.from_numpy(rng.random(users).astype(np.float32) + 0.5)
    step = IndexBatch(
        base=(2 * torch.randn(items, 4)).requires_grad_(),
        users=tuple(torch.randn(users, width, requires_grad=True) for width in made.widths),
        targets=targets,
        weight=weight,
        log_q=torch.from_numpy(rng.normal(size=items).astype(np.float32)),
        uniform=np.sort(rng.choice(items, items // 2, replace=False)),
        leaf_log_share=torch.from_numpy(np.log(share / share.sum()).astype(np.float32)),
        events=100,
        totals=StepTotals(weight.sum(), weight.sum(), users),
    )
    return Toy(config, made, step)


@pytest.fixture(scope="session")
def toy() -> Callable[..., Toy]:
    """``toy(levels=2, learner="lti", balance=0.0)``: a small random world of levels."""
    return make_toy
