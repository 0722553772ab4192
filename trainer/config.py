"""The part of the configuration that `trainer` owns."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from monitoring.duration import Duration

_NO_SHAPE = frozenset({"beam", "budget"})


class ModelConfig(BaseModel):
    """Shape of the MoNN and of its one learned level; a change needs a new model."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    dim: int = Field(32, ge=2, description="width d of item, user and node vectors")
    state_dim: int = Field(16, ge=1, description="width of the item state's vector")
    hidden: int = Field(128, ge=1, description="width of the towers' hidden layers")
    history: int = Field(10, ge=1, description="how many of a user's last items the model sees")
    token_dim: int = Field(16, ge=1, description="width of a user feature's and a context feature's vector")
    item_tokens: int = Field(8, ge=1, description="content features per item at most")
    user_tokens: int = Field(4, ge=1, description="features per user at most")
    context_tokens: int = Field(8, ge=1, description="context features per event at most")
    buckets: int = Field(8192, ge=16, description="rows of each feature-hashing table")
    ignored_features: tuple[str, ...] = Field(
        ("title",), description="item and user features kept for filters and display only"
    )
    cross: bool = Field(
        False,
        description="user-item cross features: matches of attributes, and items of the same users (co-visitation)",
    )
    nodes: int = Field(256, ge=2, description="nodes K of the learned level")
    node_heads: int = Field(4, ge=1, description="user vectors of the node level's MoNN")
    beam: int = Field(64, ge=1, description="nodes opened per request")
    budget: int = Field(150, ge=1, description="items scored by the item-level MoNN per request")

    def other_shape(self, written: Mapping[str, Any]) -> list[str]:
        """Name the fields, in order, in which a model written as JSON values has another shape than this one.

        Beam and budget are none: they may change from one run to the next.

        Examples
        --------
        >>> config = ModelConfig(dim=16)
        >>> config.other_shape(config.model_dump(mode="json") | {"beam": 1, "nodes": 2, "dim": 8})
        ['dim', 'nodes']
        """
        own = self.model_dump(mode="json")
        return sorted(name for name in own.keys() - _NO_SHAPE if own[name] != written.get(name))


class TrainerConfig(BaseModel):
    """How the model learns and what it hands out."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: ModelConfig = ModelConfig()
    seed: int = 0
    threads: int = Field(1, ge=1, description="torch threads; part of what makes a run repeatable")
    dense_rate: float = Field(2e-3, gt=0, description="Adam rate of the dense weights")
    embedding_rate: float = Field(0.2, gt=0, description="row-wise Adagrad rate of the embedding rows a batch touches")
    node_rate: float = Field(3e-3, gt=0, description="Adam rate of the node vectors and the index head")
    uniform_negatives: int = Field(512, ge=0, description="uniformly drawn items per batch beside the in-batch ones")
    frequency_half_life: float = Field(
        20_000.0, gt=0, description="half-life of the logQ frequency estimate, in events"
    )
    node_warmup: int = Field(2048, ge=0, description="events before the node vectors are seeded from item vectors")
    balance: float = Field(0.1, ge=0, description="weight of the KL balance of node sizes")
    node_follow: float = Field(
        0.03, ge=0, le=1, description="share of the way that a node moves, per batch, to the mean of its items in it"
    )
    routing: float = Field(
        0.3, ge=0, description="weight of the straight-through loss that moves items to nodes their users choose"
    )
    sharpness: float = Field(
        5.0, gt=0, description="alpha of the soft assignment, on squared distances divided by their mean"
    )
    action_weights: dict[str, float] = Field({}, description="weight of an action in loss and counters; 1 if not named")
    expire_after_idle: Duration | None = Field(
        None, description="an item without engagement for so long leaves the index"
    )
    checkpoint_dir: Path = Field(Path("checkpoints"), description="folder of the checkpoints")
    checkpoints_kept: int = Field(3, ge=1, description="older checkpoints are removed")
    snapshot_interval: Duration = Field(60.0, description="time between checkpoints, each published as a snapshot")
    flush_interval: Duration = Field(
        0.2, description="longest time a touched state waits before the mirrors hear of it"
    )
    server: str = Field("", description="URL of a server that is asked prequential queries; empty: none")
    server_token_env: str = Field("", description="environment variable with the server's bearer token; empty: none")
    prequential_share: float = Field(
        0.02, ge=0, le=1, description="share of the events asked as live prequential queries"
    )
    prequential_deadline: Duration = Field(1.0, description="a later answer is counted as unmeasured")
