"""Configuration of the model and its training: `trainer` and `trainer.model`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from hsnn.monitoring.duration import Duration
from hsnn.monitoring.section import Section
from hsnn.trainer.config.actions import DISLIKES, RATED_ACTIONS, ActionWeight
from hsnn.trainer.config.catalogue import CatalogueConfig
from hsnn.trainer.config.exclude import ExcludeConfig
from hsnn.trainer.config.ids import IdsConfig
from hsnn.trainer.config.index import IndexConfig
from hsnn.trainer.config.memory import MemoryConfig
from hsnn.trainer.config.presets import apply_preset

# Fields that decide how much is searched, not which arrays a model has.
_NO_SHAPE = frozenset({"beam", "budget"})

# Width of one vector of the interaction tower in preset "tiny": the tower runs once for every pair of user and item.
_NARROW = 8


class ModelConfig(Section):
    """Shape of the MoNN and of its learned levels; a change of shape needs a new model."""

    preset: Literal["tiny", "small", "medium", "large"] = Field(
        "tiny", description="sizes by name (dim, vectors, over_arch) for keys that are not given"
    )
    dim: int = Field(32, ge=2, description="width d of item, user and node vectors")
    user_vectors: int = Field(1, ge=1, description="vectors of the item level's user tower, n_u")
    item_vectors: int = Field(1, ge=1, description="vectors of the item tower, n_i; the first is id + content itself")
    cross: bool = Field(False, description="cross features of user and item (I2IF, co-visitation), and a tower on them")
    pair_features: bool = Field(
        True, description="look up what is known of user and item together: past engagements, co-visitation"
    )
    interaction_vectors: int = Field(1, ge=1, description="vectors of the interaction tower, n_ui, where `cross` is on")
    over_arch: Literal["dot", "mlp"] = Field(
        "dot", description="how the towers are joined: a sum of products, or a network on all segment-wise products"
    )
    state_dim: int = Field(16, ge=1, description="width of the item state vector")
    hidden: int = Field(128, ge=1, description="width of the towers' hidden layers")
    history: int = Field(10, ge=1, description="number of a user's last items that the model uses")
    token_dim: int = Field(16, ge=1, description="width of a user feature's and a context feature's vector")
    item_tokens: int = Field(8, ge=1, description="most content features per item")
    user_tokens: int = Field(32, ge=1, description="most features per user")
    context_tokens: int = Field(8, ge=1, description="most context features per event")
    buckets: int = Field(8192, ge=16, description="rows of each feature-hashing table")
    ignored_features: tuple[str, ...] = Field(
        ("title",), description="item and user features kept for filters and display only"
    )
    tasks: tuple[str, ...] = Field((), description="actions that get a task head, trained where impressions are joined")
    nodes: int = Field(256, ge=2, description="nodes of the coarsest learned level")
    children: tuple[Annotated[int, Field(ge=2)], ...] = Field(
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
        """Number of nodes of every learned level, coarsest first.

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
        """Number of nodes of the finest learned level, which hold the items."""
        return self.levels[-1]

    @property
    def level_heads(self) -> list[int]:
        """Number of user vectors of every level's MoNN: halved from level to level, at least 1."""
        return [max(self.node_heads >> level, 1) for level in range(len(self.levels))]

    @property
    def counts_pairs(self) -> bool:
        """Whether co-visitation is counted."""
        return self.pair_features or self.cross

    @property
    def vector_width(self) -> int:
        """Width of a static item vector: `item_vectors` of width `dim`, and a bias."""
        return self.item_vectors * self.dim + 1

    @property
    def interaction_width(self) -> int:
        """Total width of the interaction tower's vectors: `dim` each in the paper's sizes, 8 each in preset ``tiny``.

        Examples
        --------
        >>> ModelConfig().interaction_width, ModelConfig(preset="medium", interaction_vectors=2).interaction_width
        (8, 96)
        """
        return self.interaction_vectors * (_NARROW if self.preset == "tiny" else self.dim)

    def shape_differences(self, written: Mapping[str, Any]) -> list[str]:
        """Return the sorted names of fields in which a model written as JSON values differs in shape from this one.

        Beam and budget are not compared: they may change from one run to the next.

        Examples
        --------
        >>> config = ModelConfig(dim=16)
        >>> config.shape_differences(config.model_dump(mode="json") | {"beam": 1, "nodes": 2, "dim": 8})
        ['dim', 'nodes']
        """
        fields = self.model_dump(mode="json")
        return sorted(name for name in fields.keys() - _NO_SHAPE if fields[name] != written.get(name))


class TrainerConfig(Section):
    """How the model is trained, checkpointed and published."""

    model: ModelConfig = ModelConfig()
    index: IndexConfig = IndexConfig()
    ids: IdsConfig = IdsConfig()
    memory: MemoryConfig = MemoryConfig()
    exclude: ExcludeConfig = ExcludeConfig()
    catalogue: CatalogueConfig = CatalogueConfig()
    seed: int = Field(0, ge=0, lt=2**63, description="of everything random; the same seed and log give the same model")
    threads: int = Field(1, ge=1, description="torch threads; another number may change the last bits of a run")
    dense_rate: float = Field(2e-3, gt=0, description="Adam rate of the dense weights")
    embedding_rate: float = Field(0.1, gt=0, description="row-wise Adagrad rate of the embedding rows")
    uniform_negatives: int = Field(
        512, ge=0, description="uniformly drawn negatives per batch besides the in-batch ones"
    )
    slow_from: Duration = Field(
        8_640_000.0, description="a stream is slow if popularity of at least this half-life predicts it best"
    )
    slow_step: int = Field(512, ge=1, description="events per gradient step on slow streams")
    replay: float = Field(0.0, ge=0, description="past events replayed per new one, on slow streams; 0: none")
    replay_size: int = Field(51_200, ge=1, description="past events kept for replay")
    frequency_half_life: float = Field(
        20_000.0, gt=0, description="half-life of the logQ frequency estimate, in events"
    )
    judgement_weight: float = Field(
        0.1, ge=0, description="weight of the cross-entropy of `model.tasks` on impressions, where they are joined"
    )
    action_weights: dict[str, ActionWeight] = Field(
        {}, description="weight of an action in loss and counters, from 0 to 100; 1 if not named"
    )
    dislikes: tuple[str, ...] = Field(
        DISLIKES, description="actions that count against their item; case and separators of a name do not matter"
    )
    rated_actions: tuple[str, ...] = Field(
        RATED_ACTIONS, description="actions whose `value` rates the item, by its rank among their last 1,024 values"
    )
    expire_after_idle: Duration | None = Field(
        None, gt=0, description="time without engagement after which an item leaves the index"
    )
    checkpoint_dir: Path = Field(Path("checkpoints"), description="folder of the checkpoints")
    checkpoints_kept: int = Field(3, ge=1, description="checkpoints that are kept; older ones are removed")
    snapshot_interval: Duration = Field(60.0, description="time between checkpoints, each published as a snapshot")
    checkpoint_events: int | None = Field(
        None, ge=1, description="events between additional checkpoints; each waits for the one before"
    )
    checkpoint_time: Duration | None = Field(
        None,
        gt=0,
        description="stream time between additional checkpoints, at its multiples; each waits for the one before",
    )
    flush_interval: Duration = Field(
        0.2, description="longest time before a changed item or user state is sent to the servers' mirrors"
    )
    server: str = Field("", description="URL of a server that is asked prequential queries; empty: none")
    server_token_env: str = Field("", description="environment variable with the server's bearer token; empty: none")
    prequential_share: float = Field(
        0.02, ge=0, le=1, description="share of the events asked as live prequential queries"
    )
    prequential_deadline: Duration = Field(
        1.0, gt=0, description="longest wait for an answer; later ones count as unmeasured"
    )

    @field_validator("server")
    @classmethod
    def _http_address(cls, server: str) -> str:
        if server and not server.startswith(("http://", "https://")):
            raise ValueError("the address of a server begins with http:// or https://, as in 'http://127.0.0.1:8080'")
        return server
