"""Planted data: items in clusters whose popularity moves, users whose taste is one cluster, a model that says so.

Nothing is trained, and the index yields no more than the budget from the first request on. The model's towers are set
by hand so that a user's vector is the weighted mean of the items in the user's history and an item's score is its inner
product with that: what every nearest-neighbour index can search for, and what the exhaustive search knows the truth of.
Item vectors are sums of content tokens, as those of real new items.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from hsnn.trainer.config.model import ModelConfig
from hsnn.trainer.features.item_counters import HALF_LIVES
from hsnn.trainer.index.kmeans import seed_nodes, split_overfull
from hsnn.trainer.messages import FeedItem, Snapshot, SnapshotManifest
from hsnn.trainer.model.item_encoder import Encoder
from hsnn.trainer.model.monn import Monn

NOW = 1_700_000_000_000
"""Event time of everything, epoch ms: states are alike, so that vectors alone decide."""

# numbers per vector, items per history and tokens per item: the default width, and little beside it
_DIM, _HISTORY, _TOKENS = 32, 4, 8
_NOISE = 0.13
"""Standard deviation of each of the seven tokens that tell items of a cluster apart, times sqrt(d)."""
# items that k-means runs over
_SAMPLE = 65_536
# a leaf with so many times the mean is split
_OVERFULL = 3.0

Vectors = NDArray[np.float32]


class Block(NamedTuple):
    """Some items: numbers (n,) that nobody else has, content tokens (n, T), static vectors (n, d)."""

    numbers: NDArray[np.int64]
    tokens: NDArray[np.int32]
    vectors: Vectors

    def select(self, part: slice) -> Block:
        """Select items."""
        return Block(self.numbers[part], self.tokens[part], self.vectors[part])


def concatenate(blocks: Sequence[Block]) -> Block:
    """Concatenate blocks."""
    return Block(*(np.concatenate(columns) for columns in zip(*blocks, strict=True)))


class PlantedData:
    """Items, users and the model that all competitors share.

    Parameters
    ----------
    items
        Items alive at any moment, N.
    users
        Queries, each with a history of items of one cluster; those items are never for sale.
    seed

    Attributes
    ----------
    config : ModelConfig
        K is about sqrt(10 N) leaves.
    queries : (users, d) float32
        User vectors.
    """

    def __init__(self, items: int, users: int, seed: int) -> None:
        self.items, self.users = items, users
        leaves = 1 << int(np.ceil(np.log2(np.sqrt(10 * items))))
        self.config = ModelConfig(
            dim=_DIM,
            history=_HISTORY,
            item_tokens=_TOKENS,
            nodes=leaves,
            node_heads=1,
            pair_features=False,
            beam=min(leaves, 128),
            budget=max(200, items // 50),
        )
        self._rng = np.random.default_rng(seed)
        self._weights = planted_weights(self.config)
        self.clusters = max(16, leaves // 4)
        self._weights["content"] = self._embeddings()
        self._encoder = Encoder(self.config, self._weights)
        self._made = 0
        self._shares = self._popularity()
        taste = self._rng.integers(self.clusters, size=users)
        self._past = self._block(np.repeat(taste, _HISTORY))
        weights = _history_weights()
        self.queries: Vectors = np.einsum(
            "l,uld->ud", weights, self._past.vectors.reshape(users, _HISTORY, _DIM)
        ).astype(np.float32)

    def new_items(self, count: int, turn: float) -> Block:
        """Make `count` new items; `turn` in [0, 1] says how far the clusters' popularity has moved to another order."""
        shares = (1 - turn) * self._shares + turn * self._shares[::-1]
        return self._block(self._rng.choice(self.clusters, count, p=shares))

    def fit(self, vectors: Vectors) -> None:
        """Give the leaves node vectors by k-means over items (n, d), split where they are overfull."""
        points = np.c_[vectors, np.zeros(len(vectors), np.float32)]
        points = points[self._rng.permutation(len(points))[:_SAMPLE]]
        metric: Vectors = self._weights["levels.hierarchy.metric"]
        nodes = seed_nodes(points, self.config.leaves, self._rng, metric)
        self._weights["levels.hierarchy.codes.0"] = split_overfull(points, nodes, _OVERFULL, metric)

    def snapshot(self, manifest: dict[str, Any], items: Block, gone: NDArray[np.bool_]) -> Snapshot:
        """Make the snapshot of `items` (n,) behind the rows of the histories; `gone` (n,) says which are deleted."""
        every = concatenate([self._past, items])
        rows = len(every.numbers)
        history = np.arange(self.users * _HISTORY, dtype=np.int32).reshape(self.users, _HISTORY)
        return Snapshot(
            manifest=SnapshotManifest(
                **manifest,
                events=0,
                watermark=NOW,
                half_life=0,
                index_share=self.config.budget / self.items,
                model=self.config.model_dump(mode="json"),
                config_digest="",
            ),
            model=dict(self._weights),
            items={
                "embeddings": np.zeros((rows, _DIM + 1), np.float32),
                "tokens": every.tokens,
                "values": np.zeros((rows, len(HALF_LIVES)), np.float32),
                "last": np.full(rows, NOW),
                "first": np.full(rows, NOW),
                "expires_at": np.zeros(rows, np.int64),
                "deleted": np.r_[np.ones(self.first_row, np.bool_), gone],
            },
            users={
                "items": history,
                "times": np.full(history.shape, NOW),
                "tokens": np.full((self.users, self.config.user_tokens), -1, np.int32),
            },
            item_ids=[name_of(number) for number in every.numbers.tolist()],
            user_ids=[user_name(number) for number in range(self.users)],
            features=[{} for _ in range(rows)],
        )

    def feed(self, items: Block, sent_at: int, *, deleted: bool) -> list[FeedItem]:
        """Announce items that are new, or gone; an item's number is its row."""
        return [
            FeedItem(
                name_of(row), row, tokens=tokens, features={}, ts=NOW, sent_at=sent_at, expires_at=None, deleted=deleted
            )
            for row, tokens in zip(items.numbers.tolist(), items.tokens.tolist(), strict=True)
        ]

    @property
    def first_row(self) -> int:
        """Row of the first item that is for sale."""
        return len(self._past.numbers)

    def _block(self, clusters: NDArray[np.int64]) -> Block:
        """New items of these clusters (n,): the cluster's token, and seven of the others."""
        count = len(clusters)
        others = self._rng.integers(self.clusters, self.config.buckets, size=(count, _TOKENS - 1))
        tokens = np.c_[clusters, others].astype(np.int32)
        numbers = np.arange(self._made, self._made + count)
        self._made += count
        vectors = self._encoder.vectors(np.zeros((count, _DIM + 1), np.float32), tokens)
        return Block(numbers, tokens, vectors[:, :_DIM].copy())

    def _embeddings(self) -> Vectors:
        """Content vectors (buckets, d+1): cluster centres on the unit sphere, then noise."""
        content = self._rng.standard_normal((self.config.buckets, _DIM + 1)).astype(np.float32)
        content[: self.clusters] /= np.linalg.norm(content[: self.clusters, :_DIM], axis=1, keepdims=True)
        content[self.clusters :] *= _NOISE / np.sqrt(_DIM)
        content[:, -1] = 0
        return content

    def _popularity(self) -> NDArray[np.float64]:
        """Shares of the clusters (C,), from frequent to hardly there: when the order has turned, new ones are."""
        shares: NDArray[np.float64] = np.linspace(1.0, 0.01, self.clusters)
        return shares / shares.sum()


def name_of(number: int) -> str:
    """Id of an item."""
    return f"i{number}"


def user_name(number: int) -> str:
    """Id of a user."""
    return f"u{number}"


def planted_weights(config: ModelConfig) -> dict[str, Any]:
    """Make a model whose user vector is 5 x the weighted mean of the history's vectors; scores are inner products.

    The towers carry x as relu(x) - relu(-x); states add nothing; a node's logit is user . node.
    """
    weights = {name: torch.zeros_like(value) for name, value in Monn(config).state_dict().items()}
    d, both = config.dim, torch.cat([torch.eye(config.dim), -torch.eye(config.dim)])  # (2d, d)
    for tower, copies in (("item_user_tower", 1), ("node_user_tower", config.node_heads)):
        weights[f"{tower}.layers.0.weight"][: 2 * d, :d] = both
        weights[f"{tower}.layers.2.weight"][: 2 * d, : 2 * d] = torch.eye(2 * d)
        for copy in range(copies):
            weights[f"{tower}.layers.4.weight"][copy * d : (copy + 1) * d, : 2 * d] = 5 * both.T
    weights["levels.hierarchy.head.weight"] = torch.eye(d)
    weights["levels.hierarchy.metric"][:d, :d] = torch.eye(d)  # blind to biases
    weights["levels.hierarchy.discount_0"][:] = 1.0
    weights["features"] = torch.zeros(2 * config.buckets + 1, config.token_dim)
    return {name: value.numpy() for name, value in weights.items()}


def _history_weights() -> Vectors:
    """Weights (L,) of the planted history encoder: all its parameters are zero."""
    return np.full(_HISTORY, 5 / _HISTORY, np.float32)
