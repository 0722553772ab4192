"""Towers of a MoNN: user tower, item tower, state tower, and the history encoder.

HSNN (arXiv 2408.06653) §3: user, item and interaction tower of independent sizes; each is an MLP (implicit
interactions) and, from preset ``small`` on, an attention-FM layer beside it (explicit pairwise ones). The interaction
tower (`hsnn.trainer.modules.over_arch`) is an MLP alone: it runs once for every pair of user and item.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn

from hsnn.trainer.config.model import ModelConfig
from hsnn.trainer.features.item_counters import STATE_FEATURES


def mlp(*widths: int) -> nn.Sequential:
    """Build linear layers with ReLU between them."""
    layers: list[nn.Module] = []
    for index, (width, following) in enumerate(pairwise(widths)):
        layers += [nn.ReLU()] if index else []
        layers.append(nn.Linear(width, following))
    return nn.Sequential(*layers)


class HistoryEncoder(nn.Module):
    """Attention-like mean of the history's item vectors, weighted by position and age, joined with the last item."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.position = nn.Parameter(torch.linspace(-1.0, 0.0, config.history))
        self.gap = nn.Parameter(torch.tensor(-0.1))

    def forward(self, vectors: Tensor, gaps: Tensor, mask: Tensor) -> Tensor:
        """Encode vectors (B, L, d), log gaps (B, L) and mask (B, L) as (B, 2d)."""
        weight = self.position + self.gap * gaps  # (B, L)
        # A softmax over the items that exist; an empty history gives zeros instead of a division by 0.
        weight = torch.exp(weight - weight.amax(1, keepdim=True)) * mask
        weight = weight / weight.sum(1, keepdim=True).clamp_min(1e-6)
        mean = (weight.unsqueeze(2) * vectors).sum(1)  # (B, d)
        return torch.cat([mean, vectors[:, -1] * mask[:, -1:]], 1)


class AttentionFm(nn.Module):
    """Attention-weighted pairwise products of fields, the explicit half of a tower.

    Fields of any width are projected to `width` numbers each; every pair is multiplied element by element, and the
    products are summed with weights from a small network.
    """

    left: Tensor
    right: Tensor

    def __init__(self, fields: tuple[int, ...], width: int, out: int) -> None:
        super().__init__()
        self.fields = fields
        self.bring = nn.ModuleList(nn.Linear(field, width, bias=False) for field in fields)
        self.attend = mlp(width, width, 1)
        self.out = nn.Linear(width, out, bias=False)
        pairs = torch.triu_indices(len(fields), len(fields), 1)
        self.register_buffer("left", pairs[0], persistent=False)
        self.register_buffer("right", pairs[1], persistent=False)

    def forward(self, features: Tensor) -> Tensor:
        """Encode features (n, sum of field widths) as (n, out)."""
        parts = zip(self.bring, torch.split(features, list(self.fields), 1), strict=True)
        projected = torch.stack([project(part) for project, part in parts], 1)  # (n, fields, w)
        products = projected[:, self.left] * projected[:, self.right]  # (n, pairs, w)
        weights = torch.softmax(self.attend(products), 1)
        out: Tensor = self.out((weights * products).sum(1))
        return out


class Tower(nn.Module):
    """Tower: an MLP over all features plus, in every preset but ``tiny``, an attention-FM over their fields."""

    def __init__(self, config: ModelConfig, fields: tuple[int, ...], out: int) -> None:
        super().__init__()
        self.layers = mlp(sum(fields), config.hidden, config.hidden, out)
        self.explicit = None if config.preset == "tiny" else AttentionFm(fields, 16, out)

    def forward(self, features: Tensor) -> Tensor:
        """Encode features (n, F) as (n, out)."""
        implicit: Tensor = self.layers(features)
        return implicit if self.explicit is None else implicit + self.explicit(features)


class HistorySkip(nn.Module):
    """Linear map from the encoded history to user vectors, started at the identity.

    Ids start at zero, and a user tower's path from an item to a user leads through random layers: in one pass over a
    stream that start is not made up for. Through the skip a user begins as the mean of its history and its last item.
    """

    def __init__(self, config: ModelConfig, vectors: int) -> None:
        super().__init__()
        half = torch.eye(config.dim) / 2
        self.weight = nn.Parameter(torch.cat([half, half], 1).repeat(vectors, 1))  # (vectors * d, 2d)

    def forward(self, history: Tensor) -> Tensor:
        """Map encoded histories (B, 2d) to (B, vectors * d)."""
        return history @ self.weight.T


class ItemTower(nn.Module):
    """Item tower: static vectors; the first is id + content itself, the other n_i - 1 come from a tower."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.more = (config.item_vectors - 1) * config.dim
        self.tower = Tower(config, (config.dim, config.dim), self.more) if self.more else None

    def forward(self, embeddings: Tensor, content: Tensor) -> Tensor:
        """Encode id embeddings (n, d+1) and content sums (n, d+1) as static vectors (n, n_i*d+1), the last a bias."""
        joined = embeddings + content
        if self.tower is None:
            return joined
        more = self.tower(torch.cat([embeddings[:, :-1], content[:, :-1]], 1))
        return torch.cat([joined[:, :-1], more, joined[:, -1:]], 1)


class StateTower(nn.Module):
    """State tower: an item's changing state features (n, F) to (n, p + 1), the last column a bias.

    The last feature, log popularity, goes to the bias past the layers, with a factor that starts at 1: an untrained
    model ranks by popularity.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.layers = mlp(STATE_FEATURES - 1, 32, config.state_dim + 1)
        self.popularity = nn.Parameter(torch.tensor(1.0))

    def forward(self, features: Tensor) -> Tensor:
        """Encode state features (n, F)."""
        out: Tensor = self.layers(features[:, :-1])
        bias = out[:, -1:] + self.popularity * features[:, -1:]
        return torch.cat([out[:, :-1], bias], 1)
