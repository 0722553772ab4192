"""The modules of a MoNN: what it knows of a user, of an item's state, and how a level compares the two.

HSNN (arXiv 2408.06653) §3: towers of independent size per level, joined by an over-arch on their segment-wise products.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn

from trainer.config import ModelConfig
from trainer.item_state import STATE_FEATURES

DENSE_FEATURES = 7
"""Width of `Inputs.dense`: see `trainer.queries.dense_features`."""


def mlp(*widths: int) -> nn.Sequential:
    """Linear layers with ReLU between them."""
    layers: list[nn.Module] = []
    for index, (width, following) in enumerate(pairwise(widths)):
        layers += [nn.ReLU()] if index else []
        layers.append(nn.Linear(width, following))
    return nn.Sequential(*layers)


class HistoryEncoder(nn.Module):
    """Weighted mean of the history's item vectors, the weight learned from position and age, beside the last item."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.position = nn.Parameter(torch.linspace(-1.0, 0.0, config.history))
        self.gap = nn.Parameter(torch.tensor(-0.1))

    def forward(self, vectors: Tensor, gaps: Tensor, mask: Tensor) -> Tensor:
        """Encode vectors (B, L, d), log gaps (B, L) and mask (B, L) as (B, 2d)."""
        weight = self.position + self.gap * gaps  # (B, L)
        weight = torch.exp(weight - weight.amax(1, keepdim=True)) * mask
        weight = weight / weight.sum(1, keepdim=True).clamp_min(1e-6)
        mean = torch.bmm(weight.unsqueeze(1), vectors).squeeze(1)  # (B, d)
        return torch.cat([mean, vectors[:, -1] * mask[:, -1:]], 1)


class UserTower(nn.Module):
    """What a level wants to know of a user: (B, features) to (B, width)."""

    def __init__(self, config: ModelConfig, width: int) -> None:
        super().__init__()
        features = 2 * config.dim + 2 * config.token_dim + DENSE_FEATURES
        self.layers = mlp(features, config.hidden, config.hidden, width)

    def forward(self, features: Tensor) -> Tensor:
        """Encode user features (B, F)."""
        out: Tensor = self.layers(features)
        return out


class StateTower(nn.Module):
    """The item tower's moving part: state features (n, F) to (n, p + 1), the last column a bias."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.layers = mlp(STATE_FEATURES, 32, config.state_dim + 1)

    def forward(self, features: Tensor) -> Tensor:
        """Encode state features (n, F)."""
        out: Tensor = self.layers(features)
        return out


class NodeOverArch(nn.Module):
    """The node level's over-arch: log-sum-exp over several user vectors against each node, plus the node's share."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.heads, self.dim = config.node_heads, config.dim
        self.bias = nn.Parameter(torch.zeros(config.nodes))
        self.share = nn.Parameter(torch.tensor(1.0))

    def forward(self, users: Tensor, nodes: Tensor, log_share: Tensor) -> Tensor:
        """Score users (B, m*d) against nodes (K, d) whose log share of the traffic is (K,): (B, K)."""
        products = users.view(-1, self.dim) @ nodes.T  # (B*m, K)
        joined = torch.logsumexp(products.view(-1, self.heads, len(nodes)), 1)  # (B, K)
        return joined + self.bias + self.share * log_share
