"""What the learned level is trained on: its own loss, routing and balance; and how nodes follow their items.

HSNN (arXiv 2408.06653) §4 with straight-through codes and the KL balance of OneShot (2607.27475); in place of a
reconstruction loss, nodes move to the mean of their items, as the centroids of Streaming VQ do (2501.08695): gradients
alone leave them behind, and dead. Nothing of it reaches the item level: item vectors and user features are detached.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trainer.config import TrainerConfig
from trainer.index_level import soft_assignment, straight_through
from trainer.model import Monn, Users

_USAGE_MEMORY = 0.98


class NodeLevel(NamedTuple):
    """What the learned level says of a batch.

    Attributes
    ----------
    loss : ()
    logits : (B, U)
        Of each candidate's node.
    nodes : (U,) int64
        Nodes of the candidates.
    projected : (U, d)
        The candidates in the index's own space.
    """

    loss: Tensor
    logits: Tensor
    nodes: NDArray[np.int64]
    projected: Tensor


class NodeObjective:
    """The loss of the learned level, and the running usage that balances it.

    Attributes
    ----------
    usage : (K,) float32
        Running share of uniformly drawn items in each node.
    """

    def __init__(self, config: TrainerConfig) -> None:
        self._config = config
        self.usage: NDArray[np.float32] = np.full(config.model.nodes, 1 / config.model.nodes, np.float32)

    def __call__(
        self,
        monn: Monn,
        users: Users,
        vectors: Tensor,
        targets: Tensor,
        weight: Tensor,
        uniform: NDArray[np.int64],
        log_share: Tensor,
    ) -> NodeLevel:
        """Judge B users against U candidates.

        Parameters
        ----------
        vectors : (U, d+1)
            Static vectors of the candidates.
        targets : (B,)
            Each user's item among the candidates.
        weight : (B,)
        uniform : (n,) int64
            Candidates that were drawn uniformly.
        log_share : (K,)
            Log share of the traffic that goes to each node.
        """
        index, config = monn.index, self._config
        projected = index.project(vectors[:, :-1])  # (U, d)
        distances = index.distances(projected)  # (U, K)
        nodes = distances.argmin(1)  # (U,)
        soft = soft_assignment(distances, config.sharpness)
        logits = monn.node_logits(users, log_share)  # (B, K)
        log_p = torch.log_softmax(logits, 1)
        surprise = -log_p.gather(1, nodes[targets].unsqueeze(1)).squeeze(1)  # (B,)
        gain = (log_p - log_share).detach()  # how much better than its traffic the user predicts each node
        routing = -(straight_through(soft)[targets] * gain).sum(1)  # (B,)
        supervised = ((surprise + config.routing * routing) * weight).sum() / weight.sum().clamp_min(1e-6)
        balance = self._balance(soft[torch.from_numpy(uniform)], nodes[torch.from_numpy(uniform)])
        return NodeLevel(supervised + config.balance * balance, logits[:, nodes], nodes.numpy(), projected.detach())

    def follow(self, monn: Monn, level: NodeLevel) -> None:
        """Move every node that holds candidates a part of the way to their mean."""
        nodes, held = monn.index.nodes.data, torch.from_numpy(level.nodes)
        counts = torch.bincount(held, minlength=len(nodes))
        sums = torch.zeros_like(nodes).index_add_(0, held, level.projected)
        used = counts > 0
        nodes[used] += self._config.node_follow * (sums[used] / counts[used].unsqueeze(1) - nodes[used])

    def _balance(self, soft: Tensor, nodes: Tensor) -> Tensor:
        """Push the soft assignments (n, K) of uniformly drawn items away from nodes that hold more than their share."""
        if len(nodes) == 0:
            return torch.zeros(())
        count = len(self.usage)
        drawn = torch.bincount(nodes, minlength=count).numpy() / len(nodes)
        self.usage = (_USAGE_MEMORY * self.usage + (1 - _USAGE_MEMORY) * drawn).astype(np.float32)
        excess = np.log(np.maximum(self.usage * count, 1e-3))
        return (soft @ torch.from_numpy(excess.astype(np.float32))).mean()
