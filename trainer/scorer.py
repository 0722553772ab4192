"""The request side of a published model: user towers, node logits and item scores. NumPy in, NumPy out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from trainer.arrays import Array
from trainer.bounds import DotQuery
from trainer.config import ModelConfig
from trainer.model import Monn, Users
from trainer.queries import Queries, inputs

__all__ = ["Encoded", "Queries", "Scorer"]


class Encoded(NamedTuple):
    """B encoded requests: the user side and the node level's logits (B, K)."""

    users: Users
    nodes: NDArray[np.float32]


class Scorer:
    """Scores with the weights of one snapshot; the exhaustive reference and the served path use the same code."""

    def __init__(self, config: ModelConfig, arrays: Mapping[str, Array]) -> None:
        self.config = config
        self.model = Monn(config)
        own = self.model.state_dict()
        self.model.load_state_dict({name: torch.from_numpy(arrays[name]) for name in own})
        self.model.eval()

    @property
    def boundable(self) -> bool:
        """Whether `dot_query` says all there is to know of a request: see `trainer.model.Monn.boundable`."""
        return self.model.boundable

    @torch.inference_mode()
    def encode(self, queries: Queries, vectors: NDArray[np.float32], node_log_share: NDArray[np.float32]) -> Encoded:
        """Run the user towers and the node level.

        Parameters
        ----------
        queries
            B requests.
        vectors : (rows, d+1)
            Static item vectors by row, for the histories.
        node_log_share : (K,)
            From `trainer.leaves.Leaves.node_log_share`.
        """
        items = queries.history_items
        history = vectors[np.maximum(items, 0), :-1] * (items >= 0)[:, :, None]  # (B, L, d)
        users = self.model.users(inputs(queries, torch.from_numpy(history.astype(np.float32, copy=False))))
        return Encoded(users, self.model.node_logits(users, torch.from_numpy(node_log_share)).numpy())

    @torch.inference_mode()
    def score(
        self,
        encoded: Encoded,
        request: int,
        vectors: NDArray[np.float32],
        state_features: NDArray[np.float32],
        nodes: NDArray[np.integer],
    ) -> NDArray[np.float32]:
        """Item-level logits (n,) of n candidates for one request; `nodes` (n,), -1 for an item that is in none."""
        one = slice(request, request + 1)
        users = Users(*(part[one] for part in encoded.users))
        scores: NDArray[np.float32] = self._score(users, encoded.nodes[one], vectors, state_features, nodes)[0]
        return scores

    @torch.inference_mode()
    def score_all(
        self,
        encoded: Encoded,
        vectors: NDArray[np.float32],
        state_features: NDArray[np.float32],
        nodes: NDArray[np.integer],
    ) -> NDArray[np.float32]:
        """Item-level logits (B, n) of n items for all requests."""
        return self._score(encoded.users, encoded.nodes, vectors, state_features, nodes)

    @torch.inference_mode()
    def states(self, state_features: NDArray[np.float32]) -> NDArray[np.float32]:
        """State vectors (n, p+1), the last column a bias, of state features (n, F); the same for every user."""
        vectors: NDArray[np.float32] = self.model.state_tower(torch.from_numpy(state_features)).numpy()
        return vectors

    @torch.inference_mode()
    def dot_query(self, encoded: Encoded, request: int) -> DotQuery:
        """One request against joined static and state vectors (d+p); only if the model is `boundable`.

        With it, ``dot + biases + nodes[node]`` is what `score` gives, up to rounding.
        """
        users = encoded.users
        vector = torch.cat([users.item[request], users.state[request]]).numpy()  # (d+p,)
        return DotQuery(vector, users.item.shape[1], self.model.ensemble.detach().numpy() * encoded.nodes[request])

    def _score(
        self,
        users: Users,
        node_logits: NDArray[np.float32],
        vectors: NDArray[np.float32],
        state_features: NDArray[np.float32],
        nodes: NDArray[np.integer],
    ) -> NDArray[np.float32]:
        of_items = np.where(nodes >= 0, node_logits[:, np.maximum(nodes, 0)], node_logits.min(1, keepdims=True))
        scores: NDArray[np.float32] = self.model.item_logits(
            users, torch.from_numpy(vectors), torch.from_numpy(state_features), torch.from_numpy(of_items)
        ).numpy()
        return scores
