"""The part of the configuration that `trainer` owns."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from hsnn.monitoring.duration import Duration
from hsnn.trainer.config.ids import IdsConfig
from hsnn.trainer.config.index import IndexConfig
from hsnn.trainer.config.presets import apply_preset

# Fields that decide how much is searched, not which arrays a model has.
_NO_SHAPE = frozenset({"beam", "budget"})

# Width of one vector of the interaction tower in preset "tiny": the tower runs once for every pair of user and item.
_NARROW = 8


class ModelConfig(BaseModel):
    """Shape of the MoNN and of its learned levels; a change needs a new model."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    preset: Literal["tiny", "small", "medium", "large"] = Field(
        "tiny", description="sizes by name (dim, vectors, over_arch) for keys that are not given"
    )
    dim: int = Field(32, ge=2, description="width d of item, user and node vectors")
    user_vectors: int = Field(1, ge=1, description="vectors of the item level's user tower, n_u")
    item_vectors: int = Field(1, ge=1, description="vectors of the item tower, n_i; the first is id + content itself")
    cross: bool = Field(False, description="cross features of user and item (I2IF, co-visitation), and a tower on them")
    interaction_vectors: int = Field(1, ge=1, description="vectors of the interaction tower, n_ui, where `cross` is on")
    over_arch: Literal["dot", "mlp"] = Field(
        "dot", description="what joins the towers: a sum of products, or a network on all segment-wise products"
    )
    state_dim: int = Field(16, ge=1, description="width of the item state's vector")
    hidden: int = Field(128, ge=1, description="width of the towers' hidden layers")
    history: int = Field(10, ge=1, description="how many of a user's last items the model sees")
    token_dim: int = Field(16, ge=1, description="width of a user feature's and a context feature's vector")
    item_tokens: int = Field(8, ge=1, description="content features per item at most")
    user_tokens: int = Field(32, ge=1, description="features per user at most")
    context_tokens: int = Field(8, ge=1, description="context features per event at most")
    buckets: int = Field(8192, ge=16, description="rows of each feature-hashing table")
    ignored_features: tuple[str, ...] = Field(
        ("title",), description="item and user features kept for filters and display only"
    )
    tasks: tuple[str, ...] = Field(
        (), description="actions with a head of their own, learned where impressions are joined"
    )
    nodes: int = Field(256, ge=2, description="nodes of the coarsest learned level")
    children: tuple[int, ...] = Field(
        (), max_length=2, description="children per node of each further learned level; none: one learned level"
    )
    node_heads: int = Field(
        4, ge=1, description="user vectors of the coarsest level's MoNN; every finer level has half of them"
    )
    beam: int = Field(128, ge=1, description="nodes opened per request and learned level")
    budget: int = Field(200, ge=1, description="items scored by the item-level MoNN per request")

    @model_validator(mode="before")
    @classmethod
    def _fill_in(cls, values: Any) -> Any:
        return apply_preset(values) if isinstance(values, dict) else values

    @property
    def levels(self) -> tuple[int, ...]:
        """Nodes of every learned level, coarsest first.

        Examples
        --------
        >>> ModelConfig(nodes=64, children=(16,)).levels
        (64, 1024)
        """
        counts = [self.nodes]
        for children in self.children:
            counts.append(counts[-1] * children)
        return tuple(counts)

    @property
    def leaves(self) -> int:
        """Nodes of the finest learned level: those that hold items."""
        return self.levels[-1]

    @property
    def vector_width(self) -> int:
        """Numbers of a static item vector: `item_vectors` of width `dim`, and a bias."""
        return self.item_vectors * self.dim + 1

    @property
    def interaction_width(self) -> int:
        """Numbers of the interaction tower's vectors together: as wide as the others in the paper's sizes, else 8 each.

        Examples
        --------
        >>> ModelConfig().interaction_width, ModelConfig(preset="medium", interaction_vectors=2).interaction_width
        (8, 96)
        """
        return self.interaction_vectors * (_NARROW if self.preset == "tiny" else self.dim)

    def shape_differences(self, written: Mapping[str, Any]) -> list[str]:
        """Name the fields, in order, in which a model written as JSON values has another shape than this one.

        Beam and budget are none: they may change from one run to the next.

        Examples
        --------
        >>> config = ModelConfig(dim=16)
        >>> config.shape_differences(config.model_dump(mode="json") | {"beam": 1, "nodes": 2, "dim": 8})
        ['dim', 'nodes']
        """
        own = self.model_dump(mode="json")
        return sorted(name for name in own.keys() - _NO_SHAPE if own[name] != written.get(name))


class TrainerConfig(BaseModel):
    """How the model learns and what it hands out."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: ModelConfig = ModelConfig()
    index: IndexConfig = IndexConfig()
    ids: IdsConfig = IdsConfig()
    seed: int = 0
    threads: int = Field(1, ge=1, description="torch threads; part of what makes a run repeatable")
    dense_rate: float = Field(2e-3, gt=0, description="Adam rate of the dense weights")
    embedding_rate: float = Field(0.2, gt=0, description="row-wise Adagrad rate of the embedding rows a batch touches")
    uniform_negatives: int = Field(512, ge=0, description="uniformly drawn items per batch beside the in-batch ones")
    slow_from: Duration = Field(
        8_640_000.0, description="a stream is slow if popularity of at least this half-life predicts it best"
    )
    slow_step: int = Field(128, ge=1, description="events per gradient step on slow streams")
    replay: float = Field(1.0, ge=0, description="past events learned again per new one, on slow streams; 0: none")
    replay_size: int = Field(51_200, ge=1, description="past events kept for it")
    frequency_half_life: float = Field(
        20_000.0, gt=0, description="half-life of the logQ frequency estimate, in events"
    )
    judgement_weight: float = Field(
        0.1, ge=0, description="weight of the cross-entropy of `model.tasks` on impressions, where they are joined"
    )
    action_weights: dict[str, float] = Field({}, description="weight of an action in loss and counters; 1 if not named")
    expire_after_idle: Duration | None = Field(
        None, description="an item without engagement for so long leaves the index"
    )
    checkpoint_dir: Path = Field(Path("checkpoints"), description="folder of the checkpoints")
    checkpoints_kept: int = Field(3, ge=1, description="older checkpoints are removed")
    snapshot_interval: Duration = Field(60.0, description="time between checkpoints, each published as a snapshot")
    checkpoint_events: int | None = Field(
        None, ge=1, description="also a checkpoint whenever so many more events are learned; waits for the one before"
    )
    checkpoint_time: Duration | None = Field(
        None, description="also a checkpoint whenever stream time passes a multiple of this; waits for the one before"
    )
    flush_interval: Duration = Field(
        0.2, description="longest time a touched state waits before the mirrors hear of it"
    )
    server: str = Field("", description="URL of a server that is asked prequential queries; empty: none")
    server_token_env: str = Field("", description="environment variable with the server's bearer token; empty: none")
    prequential_share: float = Field(
        0.02, ge=0, le=1, description="share of the events asked as live prequential queries"
    )
    prequential_deadline: Duration = Field(1.0, description="a later answer is counted as unmeasured")
