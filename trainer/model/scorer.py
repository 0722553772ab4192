"""Scorer: the request side of a published model on arrays, without torch, from queries to node and item scores."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hsnn.trainer.compiled import COMPILED
from hsnn.trainer.config.model import ModelConfig
from hsnn.trainer.features.pair_facts import PairFacts
from hsnn.trainer.features.queries import QueryArrays
from hsnn.trainer.model.array_monn import MonnArrays, UserArrays
from hsnn.trainer.model.compiled_weights import pair_weights, state_tower_weights, tower_weights
from hsnn.trainer.retrieval.item_scores import StateTowerWeights, encode_states
from hsnn.trainer.retrieval.pair_scores import PairScores
from hsnn.trainer.retrieval.request_pairs import PairWeights
from hsnn.trainer.retrieval.score_bounds import DotQuery
from hsnn.trainer.retrieval.user_towers import TowerWeights
from hsnn.trainer.rowstore.arrays import Array

__all__ = ["EncodedQueries", "QueryArrays", "Scorer"]


class EncodedQueries(NamedTuple):
    """B encoded requests.

    Attributes
    ----------
    users : UserArrays
    leaf_log_probs : (B, K) float32
        Log probabilities of all leaves; -inf where they were not computed (`full` of `Scorer.encode`).
    beam_log_probs : (B, K) float32
        Those of the leaves that a beam search reaches, -inf for the others; with one level, the same array.
    nodes_scored : int
        Nodes scored per request in the beam search.
    """

    users: UserArrays
    leaf_log_probs: NDArray[np.float32]
    beam_log_probs: NDArray[np.float32]
    nodes_scored: int

    def select(self, numbers: NDArray[np.int64]) -> EncodedQueries:
        """Return the requests at `numbers`."""
        return EncodedQueries(
            self.users.select(numbers), self.leaf_log_probs[numbers], self.beam_log_probs[numbers], self.nodes_scored
        )


class Scorer:
    """Scorer with the weights of one snapshot; exhaustive search and the served beam search share its code."""

    def __init__(self, config: ModelConfig, arrays: Mapping[str, Array]) -> None:
        self.config, self.model = config, MonnArrays(config, arrays)
        self._state_tower = state_tower_weights(self.model)

    @property
    def has_dot_product_scores(self) -> bool:
        """Whether `dot_query` determines a request's scores: see `hsnn.trainer.model.monn.Monn`."""
        return self.model.has_dot_product_scores

    def encode(
        self,
        queries: QueryArrays,
        vectors: NDArray[np.float32],
        node_log_share: NDArray[np.float32],
        beam: int | None = None,
        *,
        full: bool = True,
    ) -> EncodedQueries:
        """Run the user towers and the learned levels.

        Parameters
        ----------
        queries
            B requests.
        vectors : (rows, W)
            Static item vectors by row, for the histories.
        node_log_share : (K,)
            From `hsnn.trainer.retrieval.inverted_lists.InvertedLists.node_log_share`.
        beam
            Nodes kept per level in the beam search; None: the model's `beam`.
        full
            Whether to score leaves that the beam does not reach, too; otherwise these are -inf in both arrays.
        """
        items = queries.history_items
        first = vectors[np.maximum(items, 0), : self.config.dim]
        history = first * (items >= 0)[:, :, None]  # (B, L, d)
        users = self.model.encode_users(queries, history.astype(np.float32, copy=False))
        shares = self.model.levels.log_shares(node_log_share)
        if len(self.config.levels) == 1:
            nodes = self.model.levels.level_log_probs(users.levels, shares)[-1]
            return EncodedQueries(users, nodes, nodes, nodes.shape[1])
        reached, evaluations = self.model.levels.beam_log_probs(users.levels, shares, beam or self.config.beam)
        nodes = self.model.levels.level_log_probs(users.levels, shares)[-1] if full else reached
        return EncodedQueries(users, nodes, reached, evaluations)

    def level_log_probs(
        self, encoded: EncodedQueries, request: int, node_log_share: NDArray[np.float32]
    ) -> list[NDArray[np.float32]]:
        """Compute the log probabilities of all nodes of each level, (K_l,), for one request."""
        users = encoded.users.select(slice(request, request + 1))
        levels = self.model.levels
        return [level[0] for level in levels.level_log_probs(users.levels, levels.log_shares(node_log_share))]

    def score(
        self,
        encoded: EncodedQueries,
        request: int,
        vectors: NDArray[np.float32],
        state_features: NDArray[np.float32],
        nodes: NDArray[np.integer],
        cross: NDArray[np.float32] | None = None,
    ) -> NDArray[np.float32]:
        """Compute item-level logits (n,) of n candidates for one request.

        `nodes` (n,) are their leaves, -1 for an item in none; `cross` (n, C) are their cross features.
        """
        users = encoded.users.select(slice(request, request + 1))
        node_logits = encoded.leaf_log_probs[request : request + 1]
        scores: NDArray[np.float32] = self._score(
            users, node_logits, vectors, state_features, nodes=nodes, cross=None if cross is None else cross[None]
        )[0]
        return scores

    def score_all(
        self,
        encoded: EncodedQueries,
        vectors: NDArray[np.float32],
        state_features: NDArray[np.float32],
        nodes: NDArray[np.integer],
        cross: NDArray[np.float32] | None = None,
    ) -> NDArray[np.float32]:
        """Compute item-level logits (B, n) of n items for all requests; `cross` is (B, n, C)."""
        return self._score(encoded.users, encoded.leaf_log_probs, vectors, state_features, nodes=nodes, cross=cross)

    def mean_user_scores(
        self, vectors: NDArray[np.float32], state_features: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        """Score items with static vectors (n, W) and state features (n, F) for the mean user: (n,)."""
        return self.model.mean_user_scores(vectors, state_features)

    def state_vectors(self, state_features: NDArray[np.float32]) -> NDArray[np.float32]:
        """Encode state features (n, F) as state vectors (n, p+1), the last column a bias; the same for every user."""
        if not COMPILED:
            return self.model.state_tower(state_features)
        return encode_states(np.ascontiguousarray(state_features, np.float32), self._state_tower)

    def dot_query(self, encoded: EncodedQueries, request: int) -> DotQuery:
        """Build the query of one request for joined static and state vectors: the score's sum, without networks.

        With `has_dot_product_scores`, ``dot + biases + nodes[node]`` equals `score`, up to rounding; otherwise it is
        the part of the score that orders candidates.
        """
        users, shared = encoded.users, self.config.dim * min(self.config.user_vectors, self.config.item_vectors)
        vector = np.concatenate([users.item[request, :shared], users.state[request]])  # (d+p,)
        coarse = np.float32(self.model.ensemble) * encoded.leaf_log_probs[request]  # (K,)
        return DotQuery(vector, shared, coarse)

    def pair_logits(self, facts: PairFacts) -> PairScores:
        """Compute what the facts of B requests add to their items' scores; `facts` name items by row."""
        near, own = self.model.pair_logits(facts)
        return PairScores.from_parts(
            np.r_[facts.query, facts.own_query],
            np.r_[facts.candidate, facts.own_candidate],
            np.r_[near, own],
            len(near),
        )

    def tower_weights(self) -> TowerWeights | None:
        """Return the request side for compiled kernels; None if they do not know its towers."""
        return tower_weights(self.model)

    def pair_weights(self) -> PairWeights | None:
        """Return the weights of pair facts for compiled kernels; None if the model uses none."""
        return pair_weights(self.model)

    def state_tower_weights(self) -> StateTowerWeights:
        """Return the state tower for compiled kernels."""
        return self._state_tower

    @property
    def ensemble(self) -> float:
        """Factor of a leaf's log probability in the scores of its items."""
        return self.model.ensemble

    @property
    def leaf_directions(self) -> NDArray[np.float32]:
        """Directions of the leaves, (K, d): see `hsnn.trainer.model.array_levels.LevelsArrays`."""
        return self.model.levels.leaf_directions

    @property
    def popularity_factor(self) -> float:
        """Factor of log popularity in an item's score."""
        return float(self.model.state_tower.popularity)

    def _score(
        self,
        users: UserArrays,
        node_logits: NDArray[np.float32],
        vectors: NDArray[np.float32],
        state_features: NDArray[np.float32],
        nodes: NDArray[np.integer],
        cross: NDArray[np.float32] | None,
    ) -> NDArray[np.float32]:
        # An item in no leaf is treated as if it were in the least likely one.
        leaf_logits = np.where(nodes >= 0, node_logits[:, np.maximum(nodes, 0)], node_logits.min(1, keepdims=True))
        return self.model.item_logits(users, vectors, state_features, coarse=leaf_logits, cross=cross)
