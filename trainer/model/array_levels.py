"""Learned levels of a published model on arrays, without torch: the forward pass of `hsnn.trainer.index.levels`."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hsnn.trainer.config.model import ModelConfig
from hsnn.trainer.model.array_layers import LinearArrays, Weights, log_sum_exp, number, weight
from hsnn.trainer.retrieval.leaf_scan import Floats
from hsnn.trainer.retrieval.user_towers import joined_log_shares
from hsnn.trainer.rowstore.arrays import select_prefix


class LevelArrays:
    """One level: node features, which no request changes, and the over-arch that joins them with user vectors.

    Attributes
    ----------
    heads : int
        User vectors per request.
    nodes : (K_l, d)
    bias : (K_l,)
    share : float32
        Factor of a node's log share of its family's traffic.
    """

    def __init__(self, weights: Weights, nodes: Floats, heads: int) -> None:
        self.heads, self.nodes = heads, nodes
        self.bias, self.share = weight(weights, "bias"), number(weights, "share")
        crossing = select_prefix(weights, "crossing.")
        self._crossing = LinearArrays(crossing) if crossing else None

    def scores(self, users: Floats, log_share: Floats) -> Floats:
        """Score users (B, m*d) against all nodes, whose log shares are (K_l,): (B, K_l)."""
        products = users.reshape(len(users), self.heads, self.nodes.shape[1]) @ self.nodes.T  # (B, m, K_l)
        joined = log_sum_exp(products, 1) if self.heads > 1 else products[:, 0]
        if self._crossing is not None:
            joined += self._crossing(users) @ self.nodes.T
        joined += self.bias + self.share * log_share
        return joined

    def scores_of(self, users: Floats, which: NDArray[np.int64], log_share: Floats) -> Floats:
        """Score users (B, m*d), each against its own nodes `which` (B, k): (B, k)."""
        across = self.nodes[which].transpose(0, 2, 1)  # (B, d, k)
        products = users.reshape(len(users), self.heads, self.nodes.shape[1]) @ across  # (B, m, k)
        joined = log_sum_exp(products, 1) if self.heads > 1 else products[:, 0]
        if self._crossing is not None:
            joined += (self._crossing(users)[:, None] @ across)[:, 0]
        joined += (self.bias + self.share * log_share)[which]
        return joined


class LevelsArrays:
    """All levels and the weights of their ensemble.

    Attributes
    ----------
    levels : list of LevelArrays
        Coarsest first.
    ensemble : (levels - 1,)
        Factor of the parent's log probability.
    widths : tuple of int
        Width of the user vectors of each level.
    leaf_directions : (K, d)
        Of length 1, mapped back to item vectors: their products with an item order leaves as the cosine of the item, as
        the index projects it, and of the leaves' vectors does.
    """

    def __init__(self, config: ModelConfig, weights: Weights) -> None:
        self._counts = config.levels
        heads = config.level_heads
        self.widths = tuple(count * config.dim for count in heads)
        self.ensemble = weight(weights, "ensemble")
        self.levels = []
        summed: Floats = np.zeros((1, config.dim + 1), np.float32)
        for level, count in enumerate(config.levels):
            codes = weight(weights, f"hierarchy.codes.{level}")
            summed = np.repeat(summed, count // len(summed), 0) + codes  # a node's code is relative to its parent
            represent = LinearArrays(select_prefix(weights, f"represent.{level}."))
            nodes = summed[:, :-1] + represent(weight(weights, f"hierarchy.representative_{level}"))
            own = select_prefix(weights, f"over_archs.{level}.")
            self.levels.append(LevelArrays(own, nodes, heads[level]))
        leaves = summed[:, :-1]
        lengths = np.maximum(np.linalg.norm(leaves, axis=1, keepdims=True), np.finfo(np.float32).tiny)
        self.leaf_directions: Floats = (leaves / lengths) @ weight(weights, "hierarchy.head.weight")

    def log_shares(self, leaf_log_share: Floats) -> list[Floats]:
        """Return the log share of each node in its family's traffic, per level (K_l,), from the leaves' (K,)."""
        joined = joined_log_shares(np.asarray(leaf_log_share, np.float32), self._counts)
        return np.split(joined, np.cumsum(self._counts)[:-1].tolist())

    def level_log_probs(self, users: tuple[Floats, ...], shares: list[Floats]) -> list[Floats]:
        """Compute the log probabilities of all nodes of each level, (B, K_l), for users (B, m_l*d) per level."""
        every: list[Floats] = []
        for depth, level in enumerate(self.levels):
            own = level.scores(users[depth], shares[depth])
            every.append(self._joined(depth, own, every[-1] if every else None))
        return every

    def beam_log_probs(self, users: tuple[Floats, ...], shares: list[Floats], width: int) -> tuple[Floats, int]:
        """Run a beam search of `width` nodes; return the leaves' log probabilities (B, K), -inf where not visited.

        Also return the number of nodes scored per user. All nodes of level 1 are scored, then only the children of the
        `width` best.
        """
        log_p = self._joined(0, self.levels[0].scores(users[0], shares[0]), None)
        nodes = np.broadcast_to(np.arange(log_p.shape[1]), log_p.shape)
        scored = log_p.shape[1]
        for depth, level in enumerate(self.levels[1:], 1):
            if width < log_p.shape[1]:
                kept = np.argpartition(-log_p, width - 1, 1)[:, :width]
                nodes, log_p = np.take_along_axis(nodes, kept, 1), np.take_along_axis(log_p, kept, 1)
            count = self._counts[depth] // self._counts[depth - 1]
            children = nodes[:, :, None] * count + np.arange(count)  # (B, b, F)
            nodes = children.reshape(len(nodes), nodes.shape[1] * count)
            log_p = self._joined(depth, level.scores_of(users[depth], nodes, shares[depth]), log_p)
            scored += nodes.shape[1]
        reached = np.full((len(log_p), self._counts[-1]), -np.inf, np.float32)
        np.put_along_axis(reached, nodes, log_p, 1)
        return reached, scored

    def _joined(self, level: int, own: Floats, coarse: Floats | None) -> Floats:
        """Combine a level's own scores (B, P*F) with its parents' log probabilities (B, P): (B, P*F)."""
        count = 1 if coarse is None else coarse.shape[1]
        families = own.reshape(len(own), count, own.shape[1] // count)
        families = families - log_sum_exp(families, 2)[..., None]
        if coarse is not None:
            families += self.ensemble[level - 1] * coarse[:, :, None]
        return families.reshape(own.shape)
