"""Over-archs: modules that join the towers' outputs to logits of nodes or items.

HSNN (arXiv 2408.06653) §3 joins the towers' outputs with a DHEN/DeepFM-like block; OneShot (2607.27475) by a network on
the flattened segment-wise products ``U^T V``. Here: log-sum-exp over several user vectors for nodes; for items the sum
of products (`DotOverArch`, which allows bounds per node) or a network on all of them (`MlpOverArch`).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from hsnn.trainer.config.model import ModelConfig
from hsnn.trainer.features.cross_features import CROSS_FEATURES
from hsnn.trainer.modules.logsumexp import logsumexp
from hsnn.trainer.modules.towers import mlp

# Units of the hidden layer of `MlpOverArch`'s network: few, because it runs once for every pair of user and item.
_HIDDEN = 32


class OverArchInputs(NamedTuple):
    """Inputs of an item-level over-arch, for B users and n items (or for n pairs, without the axis B).

    Attributes
    ----------
    products : (B, n, n_u * n_i)
        Of every user vector with every static item vector.
    state_product : (B, n)
        Of the user's state vector with the item's.
    bias : (n,) or broadcastable
        Of the item and of its state.
    leaf_logits : (B, n)
        Logit of the item's leaf, reused.
    interaction : (B, n, n_ui * w) or None
        The interaction tower's vectors.
    """

    products: Tensor
    state_product: Tensor
    bias: Tensor
    leaf_logits: Tensor
    interaction: Tensor | None


class NodeOverArch(nn.Module):
    """Over-arch of one learned level: log-sum-exp over several user vectors against each node, plus its log share."""

    def __init__(self, config: ModelConfig, nodes: int, heads: int) -> None:
        super().__init__()
        self.heads, self.dim = heads, config.dim
        self.bias = nn.Parameter(torch.zeros(nodes))
        self.share = nn.Parameter(torch.tensor(1.0))
        self.crossing = nn.Linear(heads * config.dim, config.dim, bias=False) if config.cross else None
        if self.crossing is not None:
            nn.init.zeros_(self.crossing.weight)

    def forward(self, users: Tensor, nodes: Tensor, which: Tensor | slice, log_share: Tensor) -> Tensor:
        """Score users (B, m*d) against the nodes `which`, with vectors (k, d) and log traffic shares (k,): (B, k)."""
        products = users.reshape(-1, self.dim) @ nodes.T  # (B*m, k)
        joined = logsumexp(products.view(-1, self.heads, len(nodes)), 1)  # (B, k)
        if self.crossing is not None:
            joined = joined + self.interaction_logits(users, nodes)
        return joined + (self.bias[which] + self.share * log_share)

    def interaction_logits(self, users: Tensor, nodes: Tensor) -> Tensor:
        """Run the level's interaction tower on users (B, m*d) and nodes (k, d): the logits it adds, (B, k)."""
        assert self.crossing is not None
        out: Tensor = self.crossing(users) @ nodes.T
        return out

    def forward_each(self, users: Tensor, nodes: Tensor, which: Tensor, log_share: Tensor) -> Tensor:
        """Score users (B, m*d), each against its own nodes `which` (B, k), with vectors (B, k, d): (B, k)."""
        across = nodes.transpose(1, 2)  # (B, d, k)
        joined = torch.logsumexp(torch.bmm(users.reshape(len(users), self.heads, self.dim), across), 1)
        if self.crossing is not None:
            joined = joined + torch.bmm(self.crossing(users).unsqueeze(1), across).squeeze(1)
        return joined + (self.bias[which] + self.share * log_share)


class InteractionTower(nn.Module):
    """Interaction tower: cross features (..., F) to n_ui vectors of width w, flattened."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.layers = mlp(CROSS_FEATURES, 16, config.interaction_width)

    def forward(self, cross: Tensor) -> Tensor:
        """Encode cross features (..., F) as (..., n_ui * w)."""
        out: Tensor = self.layers(cross)
        return out


class DotOverArch(nn.Module):
    """Over-arch that sums all inputs; of the products, only those of matching user and item segments are used."""

    matching: Tensor

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.ensemble = nn.Parameter(torch.tensor(0.0))
        matching = torch.eye(config.user_vectors, config.item_vectors).flatten()
        self.register_buffer("matching", matching, persistent=False)
        self.interaction = nn.Linear(config.interaction_width, 1) if config.cross else None

    def forward(self, parts: OverArchInputs) -> Tensor:
        """Join the inputs of B users and n items to logits (B, n)."""
        products = parts.products
        matched = products.squeeze(-1) if products.shape[-1] == 1 else products @ self.matching
        joined = matched + parts.state_product + parts.bias + self.ensemble * parts.leaf_logits
        return joined if parts.interaction is None else joined + self.interaction_logits(parts.interaction)

    def interaction_logits(self, interaction: Tensor) -> Tensor:
        """Compute the logit (...) that interaction vectors (..., w) add."""
        assert self.interaction is not None
        added: Tensor = self.interaction(interaction)
        return added.squeeze(-1)


class MlpOverArch(DotOverArch):
    """Over-arch that adds a network on all segment-wise products and the other inputs to the sum of `DotOverArch`."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        self.scale = config.dim**-0.5
        width = config.user_vectors * config.item_vectors + 3
        width += config.interaction_width if config.cross else 0
        self.network = mlp(width, _HIDDEN, 1)
        # The network starts at 0: training begins with the scores of the sum.
        for weight in self.network[-1].parameters():
            nn.init.zeros_(weight)

    def forward(self, parts: OverArchInputs) -> Tensor:
        """Join the inputs of B users and n items to logits (B, n)."""
        plain = [parts.state_product, parts.bias.expand_as(parts.state_product), parts.leaf_logits]
        features = [parts.products * self.scale, torch.stack(plain, -1)]
        if parts.interaction is not None:
            features.append(parts.interaction)
        added: Tensor = self.network(torch.cat(features, -1))
        return super().forward(parts) + added.squeeze(-1)


class TaskHeads(nn.Module):
    """Task heads: one logit per action, from the retrieval score and its inputs, so that all tasks share the towers."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.layer = nn.Linear(5, len(config.tasks))
        # Start as the retrieval score minus 2 (a probability of 12% at score 0); the other inputs start at weight 0.
        with torch.no_grad():
            self.layer.weight.zero_()
            self.layer.weight[:, 0] = 1.0
            self.layer.bias.fill_(-2.0)

    def forward(self, score: Tensor, parts: OverArchInputs) -> Tensor:
        """Compute the logits (n, A) of n pairs from retrieval scores (n,) and inputs (n, ...)."""
        added = torch.zeros_like(score) if parts.interaction is None else parts.interaction.sum(-1)
        out: Tensor = self.layer(torch.stack([score, parts.state_product, parts.bias, parts.leaf_logits, added], -1))
        return out
