"""HILL's EM learner (arXiv 2604.12965) in the metric of the task: assign by the nearest node, train with that fixed.

The distance measures how much an item's scores would change with the node's vector in place of its own. With users
``u`` of the item level, mean ``m`` and covariance ``C``, and ``x`` the difference of two items in vector and bias:

    distance(x)^2 ~ x_v' C x_v  +  g^2 (m' x_v + x_b)^2

the variance over users of the difference in score, plus its squared mean with weight ``g^2``, where ``g`` is
`trainer.index.popularity`. Items that are alike in taste and in popularity share a node.

E-step: hard assignment, of a batch's candidates in every step and by k-means over the living items in periodic refits.
M-step: the levels' task losses move the node vectors, and every node follows the mean of its items.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor

from hsnn.trainer.config.model import TrainerConfig
from hsnn.trainer.index.batch import IndexOutput
from hsnn.trainer.index.hierarchy import Hierarchy
from hsnn.trainer.index.index_learner import IndexLearner, move_nodes_to_item_means
from hsnn.trainer.rowstore.arrays import Array

# Weight per batch of the past in the running moment: a mean over about the last 100 batches.
_MEMORY = 0.99


class Em(IndexLearner):
    """EM learner: the task loss moves the nodes; no gradient goes through the assignment or to the items.

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
        """Move nodes towards the means of their items, as part of the M-step."""
        move_nodes_to_item_means(view, self.config.follow)

    def user_statistics(self, users: Tensor, total: int) -> Tensor:
        """Compute the second moment (d+1, d+1) of users (B, d)."""
        extended = torch.cat([users, torch.ones(len(users), 1)], 1)  # (B, d+1)
        return extended.T @ extended / total

    def update_user_statistics(self, seen: Tensor) -> None:
        """Update the running moment with that of a step's users, (d+1, d+1)."""
        self.moment = seen if not self.moment.any() else _MEMORY * self.moment + (1 - _MEMORY) * seen

    def update_metric(self, hierarchy: Hierarchy) -> None:
        """Renew the metric from the running moment."""
        if self.moment.any():
            hierarchy.metric.copy_(task_metric(self.moment, self.config.popularity))

    def state_dict(self) -> dict[str, Array]:
        """Return the moment."""
        return {"moment": self.moment.numpy()}

    def load_state_dict(self, arrays: Mapping[str, Array]) -> None:
        """Load what `state_dict` returned."""
        self.moment = torch.from_numpy(arrays["moment"].copy())


def task_metric(moment: Tensor, popularity: float) -> Tensor:
    """Compute the linear map (d+1, d+1) of the distance above, scaled to the mean squared size of the identity.

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


LEARNER = Em
