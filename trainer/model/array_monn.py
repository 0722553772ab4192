"""A published model on arrays, without torch: the forward pass of `hsnn.trainer.model.monn`."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hsnn.trainer.config.model import ModelConfig
from hsnn.trainer.features.pair_facts import LIFT_RATE, OWN_RATE, SMOOTHING, PairFacts
from hsnn.trainer.features.queries import QueryArrays, dense_features, history_gaps, user_field_widths
from hsnn.trainer.model.array_layers import (
    HistoryArrays,
    LinearArrays,
    MlpArrays,
    StateTowerArrays,
    TowerArrays,
    Weights,
    number,
    weight,
)
from hsnn.trainer.model.array_levels import LevelsArrays
from hsnn.trainer.retrieval.leaf_scan import Floats
from hsnn.trainer.rowstore.arrays import select_prefix


class UserArrays(NamedTuple):
    """User vectors of all levels, computed once per request.

    Attributes
    ----------
    item : (B, n_u*d) float32
        For static item vectors.
    state : (B, p) float32
        For item state vectors.
    levels : (B, m_l*d) float32 per learned level
        For node vectors.
    """

    item: Floats
    state: Floats
    levels: tuple[Floats, ...]

    def select(self, which: slice | NDArray[np.int64]) -> UserArrays:
        """Return the vectors of the requests `which`."""
        return UserArrays(self.item[which], self.state[which], tuple(level[which] for level in self.levels))


class MonnArrays:
    """Weights of one snapshot.

    Parameters
    ----------
    config
        Configuration of the snapshot's model.
    weights
        Those of the MoNN, and its feature rows as ``features``.

    Attributes
    ----------
    features : (n, t) float32
        Feature rows; the last is of zeros.
    item_skip, node_skip : (out, 2d) float32
        From the encoded history to user vectors.
    ensemble : float
        Factor of a leaf's log probability in the scores of its items.
    """

    def __init__(self, config: ModelConfig, weights: Weights) -> None:
        self.config, fields = config, user_field_widths(config)
        self.features = weight(weights, "features")
        self.features[-1] = 0  # of padding
        self.history = HistoryArrays(select_prefix(weights, "history."))
        self.item_user_tower = TowerArrays(config, select_prefix(weights, "item_user_tower."), fields)
        self.node_user_tower = TowerArrays(config, select_prefix(weights, "node_user_tower."), fields)
        self.item_skip = LinearArrays(select_prefix(weights, "item_skip."))
        self.node_skip = LinearArrays(select_prefix(weights, "node_skip."))
        self.state_tower = StateTowerArrays(select_prefix(weights, "state_tower."))
        self.levels = LevelsArrays(config, select_prefix(weights, "levels."))
        self.mean_user = weight(weights, "mean_user")
        self.ensemble = float(number(weights, "over_arch.ensemble"))
        pair_logits = select_prefix(weights, "pair_logits.")
        self._pair_logits = {name: weight(pair_logits, name) for name in pair_logits}
        self._network = MlpArrays(select_prefix(weights, "over_arch.network.")) if config.over_arch == "mlp" else None
        self._interaction: tuple[MlpArrays, LinearArrays] | None = None
        if config.cross:
            tower = MlpArrays(select_prefix(weights, "interaction_tower.layers."))
            self._interaction = tower, LinearArrays(select_prefix(weights, "over_arch.interaction."))

    @property
    def has_dot_product_scores(self) -> bool:
        """Whether an item's logit is a dot product plus sums: see `hsnn.trainer.model.monn.Monn`."""
        config = self.config
        return config.over_arch == "dot" and not config.cross and config.user_vectors == config.item_vectors

    def encode_users(self, queries: QueryArrays, history: Floats) -> UserArrays:
        """Run the user towers of B queries; `history` (B, L, d) are static vectors, zero where there is no item."""
        known, gaps = queries.history_items >= 0, history_gaps(queries)
        tokens = self.features[queries.feature_rows(self.config.buckets)]  # (B, C + X, t)
        split = queries.user_tokens.shape[1]
        encoded = self.history(history, gaps, known)
        dense = dense_features(known, gaps[:, -1], queries.now)
        features = np.concatenate([encoded, tokens[:, :split].sum(1), tokens[:, split:].sum(1), dense], 1)
        item = self.item_user_tower(features)
        nodes = self.node_user_tower(features) + self.node_skip(encoded)
        width, ends = self.config.user_vectors * self.config.dim, np.cumsum(self.levels.widths)[:-1].tolist()
        own = item[:, :width] + self.item_skip(encoded)
        return UserArrays(own, item[:, width:], tuple(np.split(nodes, ends, 1)))

    def item_logits(
        self, users: UserArrays, vectors: Floats, state_features: Floats, coarse: Floats, cross: Floats | None
    ) -> Floats:
        """Compute the logits of the item level, (B, n).

        Parameters
        ----------
        users
            Of B requests.
        vectors : (n, n_i*d+1)
            Static item vectors, the last column a bias.
        state_features : (n, F)
        coarse : (B, n)
            Logit of each item's leaf.
        cross : (B, n, C) or None
            Cross features.
        """
        config, state = self.config, self.state_tower(state_features)  # (n, p+1)
        of_user, of_item, width = config.user_vectors, config.item_vectors, config.dim
        state_product, bias = users.state @ state[:, :-1].T, vectors[:, -1] + state[:, -1]
        shared = min(of_user, of_item) * width
        logits: Floats = users.item[:, :shared] @ vectors[:, :shared].T  # matching segments
        logits += state_product
        logits += bias
        logits += np.float32(self.ensemble) * coarse
        interaction = None
        if cross is not None and self._interaction is not None:
            tower, joined = self._interaction
            interaction = tower(cross)  # (B, n, w)
            logits += joined(interaction)[..., 0]
        if self._network is not None:
            items = np.ascontiguousarray(vectors[:, :-1]).reshape(len(vectors) * of_item, width)  # (n*n_i, d)
            products = users.item.reshape(-1, width) @ items.T  # (B*n_u, n*n_i)
            products = products.reshape(len(logits), of_user, len(vectors), of_item)
            products = products.transpose(0, 2, 1, 3).reshape(*logits.shape, of_user * of_item)  # (B, n, n_u*n_i)
            plain = np.stack([state_product, np.broadcast_to(bias, logits.shape), coarse], -1)
            parts = [products * np.float32(width**-0.5), plain, *([] if interaction is None else [interaction])]
            logits += self._network(np.concatenate(parts, -1))[..., 0]
        return logits

    def mean_user_scores(self, vectors: Floats, state_features: Floats) -> Floats:
        """Score items with static vectors (n, W) and state features (n, F) for the mean user: (n,)."""
        state, width = self.state_tower(state_features), self.config.dim
        scores: Floats = vectors[:, :width] @ self.mean_user[:width] + state[:, :-1] @ self.mean_user[width:]
        scores += vectors[:, -1] + state[:, -1]
        return scores

    def pair_weights(self) -> tuple[Floats, Floats, Floats]:
        """Return the weights of pair facts as they enter a logit: of the lifts, of their log, of past items."""
        strength, scale, own = (self._pair_logits[name] for name in ("strength", "scale", "own"))
        lift = np.exp(np.float32(LIFT_RATE) * strength) / np.float32(SMOOTHING)
        return lift, 1 + np.float32(LIFT_RATE) * scale, np.float32(OWN_RATE) * own

    def pair_logits(self, facts: PairFacts) -> tuple[Floats, Floats]:
        """Compute the logits of both kinds of pair facts, (n,) and (m,): see `hsnn.trainer.modules.pair_logits`."""
        lift, scale, own = self.pair_weights()
        return scale * np.log1p(facts.lift @ lift), facts.own @ own
