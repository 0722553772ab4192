"""The MoNN over all levels, learned ones and the item level, with the linear ensemble of their logits.

HSNN (arXiv 2408.06653) §3.2: the item level's logit reuses that of the item's leaf, ``L_items = M_items + w * L_leaf``;
a user's towers and the learned levels are computed once per request.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from hsnn.trainer.config.model import ModelConfig
from hsnn.trainer.features.queries import user_field_widths
from hsnn.trainer.index.levels import Levels, level_log_shares
from hsnn.trainer.modules.inputs import ModelInputs
from hsnn.trainer.modules.over_arch import DotOverArch, InteractionTower, MlpOverArch, OverArchInputs, TaskHeads
from hsnn.trainer.modules.pair_logits import PairLogits
from hsnn.trainer.modules.towers import HistoryEncoder, HistorySkip, ItemTower, StateTower, Tower


class UserVectors(NamedTuple):
    """User vectors of all levels, computed once per request.

    Attributes
    ----------
    item : (B, n_u*d)
        For static item vectors.
    state : (B, p)
        For item state vectors.
    levels : (B, m_l*d) per learned level
        For node vectors.
    """

    item: Tensor
    state: Tensor
    levels: tuple[Tensor, ...]

    def select(self, which: slice | NDArray[np.int64]) -> UserVectors:
        """Return the vectors of the requests `which`."""
        return UserVectors(self.item[which], self.state[which], tuple(level[which] for level in self.levels))


# Weight of the earlier mean at every gradient step: the mean user covers about the last hundred batches.
_MEMORY = 0.99


class Monn(nn.Module):
    """Dense weights of the model; id, content and feature rows are in `hsnn.trainer.optim.embedding_table`.

    Attributes
    ----------
    mean_user : (d + p,)
        Running mean of the item level's first user vector and of its state vector.
    """

    mean_user: Tensor

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        fields = user_field_widths(config)
        self.history = HistoryEncoder(config)
        self.item_user_tower = Tower(config, fields, config.user_vectors * config.dim + config.state_dim)
        self.node_user_tower = Tower(config, fields, sum(config.level_heads) * config.dim)
        self.item_skip = HistorySkip(config, config.user_vectors)
        self.node_skip = HistorySkip(config, sum(config.level_heads))
        self.pair_logits = PairLogits() if config.pair_features else None
        self.item_tower = ItemTower(config)
        self.state_tower = StateTower(config)
        self.interaction_tower = InteractionTower(config) if config.cross else None
        self.over_arch = DotOverArch(config) if config.over_arch == "dot" else MlpOverArch(config)
        self.levels = Levels(config)
        self.task_heads = TaskHeads(config) if config.tasks else None
        self.register_buffer("mean_user", torch.zeros(config.dim + config.state_dim))

    def user_features(self, inputs: ModelInputs) -> Tensor:
        """Concatenate the user tower's features of B requests, (B, F)."""
        history = self.history(inputs.history, inputs.gaps, inputs.mask)  # (B, 2d)
        return torch.cat([history, inputs.user, inputs.context, inputs.dense], 1)

    def encode_features(self, features: Tensor) -> UserVectors:
        """Run the user towers on features (B, F), detached for the learned levels: no gradient of these flows back."""
        widths = [self.config.user_vectors * self.config.dim, self.config.state_dim]
        item, state = self.item_user_tower(features).split(widths, 1)
        item = item + self.item_skip(features[:, : 2 * self.config.dim])
        detached = features.detach()
        nodes = self.node_user_tower(detached) + self.node_skip(detached[:, : 2 * self.config.dim])
        return UserVectors(item, state, nodes.split(self.levels.widths, 1))

    def encode_users(self, inputs: ModelInputs) -> UserVectors:
        """Run the user towers, once per request whatever the number of items."""
        return self.encode_features(self.user_features(inputs))

    def log_probs(self, users: UserVectors, leaf_log_share: Tensor) -> Tensor:
        """Compute log probabilities of all leaves (B, K); `leaf_log_share` (K,) is their log share of the traffic."""
        return self.levels.log_probs(users.levels, level_log_shares(leaf_log_share, self.config.levels))

    def over_arch_inputs(
        self, users: UserVectors, vectors: Tensor, states: Tensor, coarse: Tensor, cross: Tensor | None = None
    ) -> OverArchInputs:
        """Compute the inputs of the item level's over-arch.

        Parameters
        ----------
        users
            User vectors of B requests.
        vectors : (n, n_i*d+1)
            Static item vectors, the last column a bias.
        states : (n, F)
            State features.
        coarse : (B, n)
            Logit of each item's leaf; no gradient flows into it.
        cross : (B, n, C) or None
            Cross features.
        """
        width, count, of_user = self.config.dim, len(vectors), self.config.user_vectors
        state = self.state_tower(states)  # (n, p+1)
        items = vectors[:, :-1].reshape(-1, width)  # (n*n_i, d)
        products = users.item.reshape(-1, width) @ items.T  # (B*n_u, n*n_i)
        products = products.view(len(users.item), of_user, count, self.config.item_vectors)
        products = products.transpose(1, 2).flatten(2)  # (B, n, n_u*n_i)
        interaction = None if cross is None or self.interaction_tower is None else self.interaction_tower(cross)
        bias = vectors[:, -1] + state[:, -1]
        return OverArchInputs(
            products=products,
            state_product=users.state @ state[:, :-1].T,
            bias=bias,
            leaf_logits=coarse.detach(),
            interaction=interaction,
        )

    def item_logits(
        self, users: UserVectors, vectors: Tensor, states: Tensor, coarse: Tensor, cross: Tensor | None = None
    ) -> Tensor:
        """Compute the logits of the item level, (B, n); parameters as in `over_arch_inputs`."""
        out: Tensor = self.over_arch(self.over_arch_inputs(users, vectors, states, coarse=coarse, cross=cross))
        return out

    def over_arch_inputs_of_pairs(
        self, users: UserVectors, vectors: Tensor, states: Tensor, coarse: Tensor, cross: Tensor | None = None
    ) -> OverArchInputs:
        """Compute `over_arch_inputs` of n pairs of one user and one item each: (n, ...) in place of (B, n, ...)."""
        count, width = len(vectors), self.config.dim
        state = self.state_tower(states)  # (n, p+1)
        items = vectors[:, :-1].view(count, self.config.item_vectors, width)
        vectors_of_users = users.item.view(count, self.config.user_vectors, width)
        products = torch.bmm(vectors_of_users, items.transpose(1, 2)).flatten(1)  # (n, n_u*n_i)
        interaction = None if cross is None or self.interaction_tower is None else self.interaction_tower(cross)
        return OverArchInputs(
            products=products,
            state_product=(users.state * state[:, :-1]).sum(1),
            bias=vectors[:, -1] + state[:, -1],
            leaf_logits=coarse.detach(),
            interaction=interaction,
        )

    @torch.no_grad()
    def mean_user_of(self, users: UserVectors, total: int) -> Tensor:
        """Average users to (d+p,), or compute one shard's summand of it: `total` is the number of all users."""
        return torch.cat([users.item[:, : self.config.dim], users.state], 1).sum(0) / total

    @torch.no_grad()
    def update_mean_user(self, seen: Tensor) -> None:
        """Update the running mean, which `mean_user_scores` uses, with the mean user (d+p,) of a batch."""
        self.mean_user.mul_(_MEMORY).add_(seen, alpha=1 - _MEMORY)

    def mean_user_scores(self, vectors: Tensor, states: Tensor) -> Tensor:
        """Score items with static vectors (n, W) and state features (n, F) for the mean user: (n,).

        Only the first user and item vector are used, and the over-arch is taken as a sum.
        """
        state = self.state_tower(states)  # (n, p+1)
        width = self.config.dim
        item_user, state_user = self.mean_user[:width], self.mean_user[width:]
        scores: Tensor = vectors[:, :width] @ item_user + state[:, :-1] @ state_user + vectors[:, -1] + state[:, -1]
        return scores

    def task_logits(self, parts: OverArchInputs) -> Tensor:
        """Compute the task logits (n, A) of n pairs, from `over_arch_inputs_of_pairs`."""
        assert self.task_heads is not None
        out: Tensor = self.task_heads(self.over_arch(parts), parts)
        return out

    @property
    def has_dot_product_scores(self) -> bool:
        """Whether an item's logit is a dot product plus sums, as `hsnn.trainer.retrieval.score_bounds` requires."""
        config = self.config
        return config.over_arch == "dot" and not config.cross and config.user_vectors == config.item_vectors
