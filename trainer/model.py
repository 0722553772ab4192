"""The MoNN over two levels, nodes and items, with the linear ensemble of their logits.

HSNN (arXiv 2408.06653) §3.2: ``L_nodes = M_nodes`` and ``L_items = M_items + w * M_nodes[node of the item]``; the node
level's output is computed once per request and reused.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from trainer.config import ModelConfig
from trainer.index_level import IndexLevel
from trainer.towers import HistoryEncoder, NodeOverArch, StateTower, UserTower


class Inputs(NamedTuple):
    """What the model sees of B requests.

    Attributes
    ----------
    history : (B, L, d) static item vectors, zero where absent
    gaps : (B, L) log minutes since
    mask : (B, L)
    user_tokens : (B, C) int64, -1 padded
    context_tokens : (B, X) int64, -1 padded
    dense : (B, 7)
    """

    history: Tensor
    gaps: Tensor
    mask: Tensor
    user_tokens: Tensor
    context_tokens: Tensor
    dense: Tensor


class Users(NamedTuple):
    """The user side of both levels, computed once per request.

    Attributes
    ----------
    item : (B, d)
        Against static item vectors.
    state : (B, p)
        Against item states.
    nodes : (B, m*d)
        Against node vectors.
    """

    item: Tensor
    state: Tensor
    nodes: Tensor


class Monn(nn.Module):
    """Dense weights of the model; id embeddings live in `trainer.embedding.EmbeddingTable`."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.history = HistoryEncoder(config)
        self.user_features = nn.EmbeddingBag(
            config.buckets + 1, config.token_dim, mode="sum", padding_idx=config.buckets
        )
        self.context_features = nn.EmbeddingBag(
            config.buckets + 1, config.token_dim, mode="sum", padding_idx=config.buckets
        )
        for table in (self.user_features, self.context_features):
            nn.init.normal_(table.weight, std=0.05)
            with torch.no_grad():
                table.weight[config.buckets] = 0
        self.item_user_tower = UserTower(config, config.dim + config.state_dim)
        self.node_user_tower = UserTower(config, config.node_heads * config.dim)
        self.state_tower = StateTower(config)
        self.index = IndexLevel(config)
        self.node_over_arch = NodeOverArch(config)
        self.ensemble = nn.Parameter(torch.tensor(0.0))

    @property
    def boundable(self) -> bool:
        """Whether an item's logit is a dot product and sums, as the bounds of `trainer.bounds` need it."""
        return True

    def users(self, inputs: Inputs) -> Users:
        """Run the user towers; the node level learns on detached features and costs the item level nothing."""
        features = torch.cat(
            [
                self.history(inputs.history, inputs.gaps, inputs.mask),
                self.user_features(self._padded(inputs.user_tokens)),
                self.context_features(self._padded(inputs.context_tokens)),
                inputs.dense,
            ],
            1,
        )  # (B, F)
        item, state = self.item_user_tower(features).split([self.config.dim, self.config.state_dim], 1)
        return Users(item, state, self.node_user_tower(features.detach()))

    def node_logits(self, users: Users, log_share: Tensor) -> Tensor:
        """Logits of the node level (B, K); `log_share` (K,) is each node's share of the current traffic."""
        out: Tensor = self.node_over_arch(users.nodes, self.index.nodes, log_share)
        return out

    def item_logits(self, users: Users, vectors: Tensor, states: Tensor, node_logits: Tensor) -> Tensor:
        """Logits of the item level.

        Parameters
        ----------
        users
            Of B requests.
        vectors : (n, d+1)
            Static item vectors, the last column a bias.
        states : (n, F)
            State features.
        node_logits : (B, n)
            Each item's node's logit, from `node_logits`.

        Returns
        -------
        (B, n)
        """
        state = self.state_tower(states)  # (n, p+1)
        own = users.item @ vectors[:, :-1].T + users.state @ state[:, :-1].T + (vectors[:, -1] + state[:, -1])
        out: Tensor = own + self.ensemble * node_logits.detach()
        return out

    def _padded(self, tokens: Tensor) -> Tensor:
        return torch.where(tokens < 0, self.config.buckets, tokens)


def sampled_softmax(logits: Tensor, log_q: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
    """Weighted mean cross-entropy of `targets` (B,) among candidates.

    `logits` are (B, n), `log_q` (n,) is the log expected count of each candidate in the sample and is subtracted.
    """
    losses = functional.cross_entropy(logits - log_q, targets, reduction="none")
    return (losses * weights).sum() / weights.sum().clamp_min(1e-6)
