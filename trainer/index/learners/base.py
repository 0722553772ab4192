"""The contract of the index learners: how items are assigned, what moves the nodes, and who feels the loss.

One behavioural suite runs over all of them. A learner is chosen by ``trainer.index.learner``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor

from hsnn.trainer.config.model import TrainerConfig
from hsnn.trainer.index.batch import IndexOutput
from hsnn.trainer.index.hierarchy import Hierarchy
from hsnn.trainer.rowstore.arrays import Array


class IndexLearner:
    """Base of the learners, and their neutral behaviour: items detached, nodes moved by the task loss alone.

    Attributes
    ----------
    detaches_items : bool
        Whether item vectors are spared the index's gradients.
    task_loss_moves_nodes : bool
        Whether the task loss moves node vectors; if not, the learner does by itself.
    differentiable_assignment : bool
        Whether assignments have gradients, so that balance losses have an effect.
    refits_periodically : bool
        Whether nodes come from k-means over all living items now and then.
    splits_overfull_nodes : bool
        Whether nodes that are overfull are split then.
    learns_head : bool
        Whether the head in front of the nodes is learned.
    """

    detaches_items: ClassVar[bool] = True
    task_loss_moves_nodes: ClassVar[bool] = True
    differentiable_assignment: ClassVar[bool] = True
    refits_periodically: ClassVar[bool] = False
    splits_overfull_nodes: ClassVar[bool] = False
    learns_head: ClassVar[bool] = False

    def __init__(self, config: TrainerConfig) -> None:
        self.config = config.index

    def project(self, hierarchy: Hierarchy, base: Tensor) -> Tensor:
        """Items (U, d+1) in the index's own space."""
        return hierarchy.project(base) if self.detaches_items else base

    def loss(self, view: IndexOutput) -> Tensor:  # noqa: ARG002 - the neutral learner adds nothing
        """Return what this learner adds to the levels' own task losses, ()."""
        return torch.zeros(())

    def after_step(self, view: IndexOutput) -> None:
        """Move nodes once the gradient step was made."""

    def user_statistics(self, users: Tensor, total: int) -> Tensor:  # noqa: ARG002 - the neutral learner looks at nobody
        """Return what `observe` wants to know of the item level's first user vectors (B, d).

        It is a mean over `total` users, so that those of the parts of a batch add up.
        """
        return torch.zeros(0)

    def update_user_statistics(self, seen: Tensor) -> None:
        """Look at the users of a batch that was learned, by what `seen` returned for all of them."""

    def update_metric(self, hierarchy: Hierarchy) -> None:
        """Renew the metric in which items are near to nodes."""

    def state_dict(self) -> dict[str, Array]:
        """Arrays that the next step depends on."""
        return {}

    def load_state_dict(self, arrays: Mapping[str, Array]) -> None:
        """Take over what `state` returned."""


def move_nodes_to_item_means(view: IndexOutput, share: float) -> None:
    """Move every node that holds candidates `share` of the way to their mean, as EM's and Streaming VQ's nodes do."""
    for codes, path in zip(view.levels.hierarchy.codes, view.paths, strict=True):
        nodes, residual = codes.data, path.residual.detach()
        counts = torch.bincount(path.nodes, minlength=len(nodes))
        sums = torch.zeros_like(nodes).index_add_(0, path.nodes, residual)
        used = counts > 0
        nodes[used] += share * (sums[used] / counts[used].unsqueeze(1) - nodes[used])
