"""OneShot learner (arXiv 2607.27475): straight-through codes on detached items, after a learned linear head.

The routing loss moves items to nodes that their users choose; its gradient goes through the soft assignment to head and
codes. The gain is ``log p - log share``, so that popular nodes do not attract items by popularity alone.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from hsnn.trainer.index.batch import IndexOutput
from hsnn.trainer.index.hierarchy import straight_through
from hsnn.trainer.index.index_learner import IndexLearner, move_nodes_to_item_means


class OneShot(IndexLearner):
    """OneShot learner: straight-through routing on detached items, which leaves the item level unaffected."""

    learns_head: ClassVar[bool] = True

    def loss(self, view: IndexOutput) -> Tensor:
        """Sum the routing loss over all levels."""
        total, step = torch.zeros(()), view.batch
        rows = torch.arange(len(step.targets))
        for level, scores in enumerate(view.scores):
            family = scores.families[step.targets]  # (B,)
            gain = (scores.own[rows, family] - scores.log_share[family]).detach()  # (B, F)
            codes = straight_through(view.soft(level)[step.targets])
            total = total - step.mean((codes * gain).sum(1))
        return self.config.routing * total

    def after_step(self, view: IndexOutput) -> None:
        """Move nodes towards the means of their items; by gradients alone they fall behind and die."""
        move_nodes_to_item_means(view, self.config.follow)


LEARNER = OneShot
