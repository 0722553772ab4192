"""Base class of the index learners: their loss, how nodes move, and which gradients reach items and nodes.

One suite of tests runs over all of them. A learner is chosen by ``trainer.index.learner``.
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
    """Base class of the learners; by default items are detached and the task loss alone moves the nodes.

    Attributes
    ----------
    detaches_items : bool
        Whether no gradient of the index reaches the item vectors.
    task_loss_moves_nodes : bool
        Whether the task loss moves node vectors; if not, the learner moves them in another way.
    differentiable_assignment : bool
        Whether assignments have gradients, so that balance losses have an effect.
    refits_periodically : bool
        Whether nodes are refitted by k-means over the living items from time to time.
    splits_overfull_nodes : bool
        Whether overfull nodes are split in a refit.
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
        """Project items (U, d+1) into the space of the node vectors, (U, d+1)."""
        return hierarchy.project(base) if self.detaches_items else base

    def loss(self, view: IndexOutput) -> Tensor:  # noqa: ARG002 - the default adds nothing
        """Compute the loss that this learner adds to the levels' task losses, ()."""
        return torch.zeros(())

    def after_step(self, view: IndexOutput) -> None:
        """Move nodes after a gradient step was applied."""

    def user_statistics(self, users: Tensor, total: int) -> Tensor:  # noqa: ARG002 - the default needs none
        """Compute the statistics of the item level's first user vectors (B, d) for `update_user_statistics`.

        They are sums divided by `total` users, so that those of the shards of a batch add up.
        """
        return torch.zeros(0)

    def update_user_statistics(self, seen: Tensor) -> None:
        """Update running statistics with those of all users of an applied step, as `user_statistics` returned them."""

    def update_metric(self, hierarchy: Hierarchy) -> None:
        """Renew the metric of the distances between items and nodes."""

    def state_dict(self) -> dict[str, Array]:
        """Return the arrays that the next step depends on."""
        return {}

    def load_state_dict(self, arrays: Mapping[str, Array]) -> None:
        """Load what `state_dict` returned."""


def move_nodes_to_item_means(view: IndexOutput, share: float) -> None:
    """Move every node that holds candidates `share` of the way to their mean."""
    for codes, path in zip(view.levels.hierarchy.codes, view.paths, strict=True):
        nodes, residual = codes.data, path.residual.detach()
        counts = torch.bincount(path.nodes, minlength=len(nodes))
        sums = torch.zeros_like(nodes).index_add_(0, path.nodes, residual)
        # A node without candidates has no sum, either, and stays where it is.
        counts = counts.unsqueeze(1)
        nodes += (sums - counts * nodes) * (share / counts.clamp_min(1))
