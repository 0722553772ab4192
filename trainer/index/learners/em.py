"""HILL's EM learner (arXiv 2604.12965) in the metric of the task: assign by the nearest node, train with that fixed.

"Nearest" is measured by what a node's vector in place of an item's would do to the item's scores. With users ``u`` of
the item level, mean ``m`` and covariance ``C``, and ``x`` the difference of two items in vector and bias:

    distance(x)^2 ~ x_v' C x_v  +  g^2 (m' x_v + x_b)^2

the variance over users of the score's difference, and its mean, weighted by ``g`` (`trainer.index.popularity`): items
that are alike in taste AND in how much they are wanted share a node, so that a node that is opened is worth its items.

E-step: the hard assignment, renewed for a batch's candidates in every step and by k-means over the living items in
outer rounds. M-step: the levels' task losses move the node vectors, and every node follows the mean of its items.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor

from hsnn.trainer.config.model import TrainerConfig
from hsnn.trainer.index.batch import IndexOutput
from hsnn.trainer.index.hierarchy import Hierarchy
from hsnn.trainer.index.learners.base import IndexLearner, move_nodes_to_item_means
from hsnn.trainer.rowstore.arrays import Array

# Weight per batch of the past in the running moment: a mean over about the last 100 batches.
_MEMORY = 0.99


class Em(IndexLearner):
    """Joint: the task loss moves the nodes; no gradient goes through the assignment or to the items.

    Attributes
    ----------
    moment : (d+1, d+1)
        Running mean of ``(u, 1)(u, 1)'`` over users.
    """

    differentiable_assignment: ClassVar[bool] = False
    refits_periodically: ClassVar[bool] = True
    splits_overfull_nodes: ClassVar[bool] = True

    def __init__(self, config: TrainerConfig) -> None:
        super().__init__(config)
        self.moment = torch.zeros(config.model.dim + 1, config.model.dim + 1)

    def after_step(self, view: IndexOutput) -> None:
        """Take the M-step's mean."""
        move_nodes_to_item_means(view, self.config.follow)

    def user_statistics(self, users: Tensor, total: int) -> Tensor:
        """Moment (d+1, d+1) of users (B, d)."""
        extended = torch.cat([users, torch.ones(len(users), 1)], 1)  # (B, d+1)
        return extended.T @ extended / total

    def update_user_statistics(self, seen: Tensor) -> None:
        """Take users' moment (d+1, d+1) into the running one."""
        self.moment = seen if not self.moment.any() else _MEMORY * self.moment + (1 - _MEMORY) * seen

    def update_metric(self, hierarchy: Hierarchy) -> None:
        """Renew the metric from the users seen so far."""
        if self.moment.any():
            hierarchy.metric.copy_(task_metric(self.moment, self.config.popularity))

    def state_dict(self) -> dict[str, Array]:
        """Return the moment."""
        return {"moment": self.moment.numpy()}

    def load_state_dict(self, arrays: Mapping[str, Array]) -> None:
        """Take over what `state` returned."""
        self.moment = torch.from_numpy(arrays["moment"].copy())


def task_metric(moment: Tensor, popularity: float) -> Tensor:
    """Map (d+1, d+1) whose distances are those above, of the mean size of the identity's.

    Examples
    --------
    >>> users = torch.tensor([[3.0, 0.0], [-3.0, 0.0]])  # they differ in the first number only
    >>> extended = torch.cat([users, torch.ones(2, 1)], 1)
    >>> metric = task_metric(extended.T @ extended / 2, popularity=0.0)
    >>> (torch.tensor([1.0, 5.0, 5.0]) @ metric).norm() > 100 * (torch.tensor([0.0, 5.0, 5.0]) @ metric).norm()
    tensor(True)
    """
    mean = moment[-1]  # (d+1,): users' mean, and 1
    form = moment - (1 - popularity**2) * torch.outer(mean, mean)
    values, vectors = torch.linalg.eigh(form.double())
    root = (vectors * values.clamp_min(0).sqrt()) @ vectors.T  # (d+1, d+1)
    scaled: Tensor = root / root.square().mean(0).sum().sqrt().clamp_min(1e-12)
    return scaled.float()
