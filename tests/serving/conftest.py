"""A planted trainer and scheduler: clusters of items, a model whose scores are known, versions and deltas of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import msgspec
import numpy as np
import pytest
import torch

from benchmarks.churn.planted_data import planted_weights
from hsnn.indexer.store.bulk_load import ItemColumns
from hsnn.indexer.store.delta import Delta, pack_vector
from hsnn.indexer.store.version import IndexBase, Version, VersionManifest
from hsnn.indexer.store.writer import IndexStore
from hsnn.serving.mirror.mirror import Mirror
from hsnn.streaming.redis.client import Redis
from hsnn.trainer.config.model import ModelConfig
from hsnn.trainer.features.covisitation import Covisitation
from hsnn.trainer.features.hashing import hash_features, pad_tokens
from hsnn.trainer.features.item_counters import ItemCounters
from hsnn.trainer.features.user_history import UserHistories
from hsnn.trainer.features.user_memory import UserMemory, action_slots
from hsnn.trainer.messages import ExclusionRule, Snapshot, SnapshotManifest, StateDelta
from hsnn.trainer.snapshot_chunks import write_snapshot
from tests.trainer.encoded import encoded

HOUR = 3_600_000
START = 1_700_000_000_000


@dataclass
class Plant:
    """Writes what trainer and scheduler would, for items planted in clusters; cluster = node."""

    config: ModelConfig
    epoch: int = 1
    idle_ms: int | None = 24 * HOUR
    now: int = START
    half_life: int = 2
    exclusion: ExclusionRule = field(default_factory=ExclusionRule)
    index_share: float = 1.0
    mass_expiry_share: float = 1.0
    version_number: int = 0
    ids: list[str] = field(default_factory=list)
    vectors: list[np.ndarray] = field(default_factory=list)
    nodes: list[int] = field(default_factory=list)
    features: list[dict[str, Any]] = field(default_factory=list)
    expires: list[int] = field(default_factory=list)
    deleted: list[bool] = field(default_factory=list)
    users: list[str] = field(default_factory=list)
    sent_users: int = 0
    events: int = 0
    touched_items: set[int] = field(default_factory=set)
    touched_users: set[int] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.states, self.histories = ItemCounters(), UserHistories(self.config.history)
        self.memory = UserMemory(limit=100, keep_ms=self.exclusion.keep_ms)
        self.pairs = Covisitation(rows=0)
        self.rng = np.random.default_rng(0)
        torch.manual_seed(0)
        self.weights = planted_weights(self.config)
        self.weights["levels.hierarchy.codes.0"][:, : self.config.dim] = np.eye(self.config.dim)[: self.config.nodes]

    def add(self, name: str, cluster: int, expires_at: int = 0, **features: Any) -> Delta:
        """A new item; the delta that inserts it."""
        row = len(self.ids)
        vector = np.zeros(self.config.vector_width, np.float32)
        vector[cluster] = 1.0
        vector[:-1] += 0.05 * self.rng.standard_normal(len(vector) - 1)
        self.ids.append(name)
        self.vectors.append(vector)
        self.nodes.append(cluster)
        self.features.append(features)
        self.expires.append(expires_at)
        self.deleted.append(False)
        self.states.reserve(row + 1)
        self.states.mark_first_seen([row], self.now)
        self.touched_items.add(row)
        return self.insert(row)

    def insert(self, row: int, reason: Any = "new") -> Delta:
        """The delta that says where an item is."""
        return Delta(
            "insert",
            self.epoch,
            row,
            self.ids[row],
            self.nodes[row],
            pack_vector(self.vectors[row]),
            self.features[row],
            int(self.states.first[row]),
            int(self.states.last[row]),
            self.expires[row],
            self.now,
            reason,
        )

    def move(self, row: int, node: int) -> Delta:
        """Re-assign an item."""
        self.nodes[row] = node
        return Delta(
            "move",
            self.epoch,
            row,
            self.ids[row],
            node,
            pack_vector(self.vectors[row]),
            self.features[row],
            int(self.states.first[row]),
            int(self.states.last[row]),
            self.expires[row],
            0,
            "nearer",
        )

    def delete(self, row: int, reason: Any = "deleted") -> Delta:
        """Take an item out of the index."""
        self.nodes[row] = -1
        self.deleted[row] = reason == "deleted"
        return Delta("delete", self.epoch, row, self.ids[row], reason=reason)

    def engage(self, user: str, item: str, after: int = 1000, *, disliked: bool = False) -> None:
        """A user engages with an item, `after` ms later than the last event."""
        self.now += after
        if user not in self.users:
            self.users.append(user)
        row, who = self.ids.index(item), self.users.index(user)
        self.histories.reserve(len(self.users))
        self.memory.reserve(len(self.users))
        at = np.array([self.now])
        self.memory.extend(
            np.array([who]), np.array([row]), at, actions=action_slots(["click"]), disliked=np.array([disliked])
        )
        before = self.histories.extend(np.array([who]), np.array([row]), at)
        if self.config.counts_pairs:
            self.pairs.reserve(len(self.ids))
            self.touched_items.update(self.pairs.update(*before, np.array([row]), at).tolist())
        self.states.add_engagements(np.array([row]), at, np.ones(1, np.float32))
        self.events += 1
        self.touched_items.add(row)
        self.touched_users.add(who)

    def state(self) -> StateDelta:
        """What was touched since the last call, as it goes over the wire."""
        items, users = np.array(sorted(self.touched_items), np.int32), np.array(sorted(self.touched_users), np.int32)
        first, self.sent_users = self.sent_users, len(self.users)
        self.touched_items, self.touched_users = set(), set()
        memory = self.memory.select(users)
        delta = StateDelta(
            self.epoch,
            self.events,
            self.now,
            self.half_life,
            items,
            self.states.values[items],
            self.states.last[items],
            self.states.first[items],
            users,
            self.histories.items[users],
            self.histories.times[users],
            self._tokens(len(users)),
            np.arange(first, len(self.users), dtype=np.int32),
            self.users[first:],
            *self._pairs(items),
            user_memory=memory.bytes,
            user_memory_lengths=memory.lengths,
            index_share=self.index_share,
        )
        return StateDelta.decode(delta.encode())

    def snapshot(self) -> Snapshot:
        """Model and states as they are now."""
        n, m, width = len(self.ids), len(self.users), self.config.vector_width
        manifest = SnapshotManifest(
            snapshot=self.version_number,
            epoch=self.epoch,
            checkpoint="none",
            events=self.events,
            watermark=self.now,
            state_id="0-0",
            feed_id="0-0",
            half_life=self.half_life,
            model=self.config.model_dump(mode="json"),
            config_digest="",
            expire_after_idle_ms=self.idle_ms,
            exclusion=self.exclusion,
            mass_expiry_share=self.mass_expiry_share,
        )
        items = {
            "embeddings": np.array(self.vectors, np.float32).reshape(n, width),
            "tokens": pad_tokens([self._content(row) for row in range(n)], self.config.item_tokens),
            "values": self.states.values[:n],
            "last": self.states.last[:n],
            "first": self.states.first[:n],
            "expires_at": np.array(self.expires, np.int64),
            "deleted": np.array(self.deleted, np.bool_),
        }
        if self.config.counts_pairs:
            items |= dict(zip(("neighbours", "weights", "totals", "paired"), self._pairs(np.arange(n)), strict=True))
        users = {"items": self.histories.items[:m], "times": self.histories.times[:m], "tokens": self._tokens(m)}
        memory = self.memory.select(np.arange(m))
        users |= {"memory": memory.bytes, "memory_lengths": memory.lengths}
        weights = self.weights | {"content": np.zeros((self.config.buckets, width), np.float32)}
        return Snapshot(manifest, weights, items, users, list(self.ids), list(self.users), list(self.features))

    def version(self, state_id: str = "0-0") -> Version:
        """Publish: the next version."""
        self.version_number += 1
        snapshot, n = Snapshot.decode(encoded(self.snapshot())), len(self.ids)
        base = IndexBase(
            np.array(self.vectors, np.float32).reshape(n, self.config.vector_width),
            np.array(self.nodes, np.int32),
            np.full(self.config.nodes, -1, np.int32),
        )
        manifest = VersionManifest(
            version=self.version_number,
            epoch=self.epoch,
            snapshot=snapshot.manifest.snapshot,
            checkpoint="none",
            events=self.events,
            watermark=self.now,
            created_at=self.now,
            items=n,
            rows=n,
            nodes=self.config.nodes,
            config_digest="",
            state_id=state_id,
            reason="snapshot",
        )
        return Version(manifest, snapshot, base)

    def write(self, redis: Redis, state_id: str = "0-0", shards: int = 1) -> int:
        """Publish the next version and write it as the scheduler does, not flipped to; its number."""
        made = self.version(state_id)
        manifest = msgspec.structs.replace(made.manifest, shards=tuple(range(shards)))
        write_snapshot(redis, made.snapshot)
        items = ItemColumns(made.snapshot.item_ids, made.snapshot.items["expires_at"])
        IndexStore(redis).write_unpublished(manifest, made.index, items)
        return manifest.version

    def load(self, mirror: Mirror) -> None:
        """Publish a version and let a mirror load it."""
        mirror.load_version(self.version())

    def _content(self, row: int) -> list[int]:
        """Tokens of an item; planted vectors have no part of them, so they matter to cross features only."""
        if not self.config.cross:
            return []
        return hash_features(self.features[row], self.config.buckets, self.config.item_tokens)

    def _pairs(self, rows: np.ndarray) -> tuple[np.ndarray, ...]:
        pairs, index = self.pairs, rows if self.config.counts_pairs else rows[:0]
        pairs.reserve(len(self.ids) if self.config.counts_pairs else 0)
        return pairs.neighbours[index], pairs.weights[index], pairs.totals[index], pairs.last[index]

    def _tokens(self, rows: int) -> np.ndarray:
        return np.full((rows, self.config.user_tokens), -1, np.int32)


SMALL = ModelConfig(
    pair_features=False,  # the planted scores are those of vectors alone; tests of pairs switch it on
    dim=8,
    state_dim=4,
    hidden=16,
    history=4,
    token_dim=4,
    buckets=64,
    nodes=6,
    node_heads=2,
    beam=2,
    budget=12,
)


@pytest.fixture
def plant() -> Plant:
    """Six clusters of ten items, ``c0-0`` to ``c5-9``; user ``u0`` has been in cluster 0, ``u1`` in cluster 1, ..."""
    plant = Plant(SMALL)
    for cluster in range(6):
        for number in range(10):
            plant.add(
                f"c{cluster}-{number}", cluster, topic=f"c{cluster}", parity=number % 2, tags=[f"t{number}", "all"]
            )
    for cluster in range(6):
        for number in range(3):
            plant.engage(f"u{cluster}", f"c{cluster}-{number}")
    return plant


@pytest.fixture
def fresh_plant() -> Plant:
    """A plant without any item."""
    return Plant(SMALL)


@pytest.fixture(scope="session")
def new_plant() -> Callable[..., Plant]:
    """Makes empty plants, for tests that need one per example; ``new_plant(cross=True)`` has another configuration."""
    return lambda **config: Plant(SMALL.model_copy(update=config))


@pytest.fixture
def mirror(plant: Plant) -> Mirror:
    """A mirror that has loaded the plant's first version."""
    mirror = Mirror()
    plant.load(mirror)
    plant.state()
    return mirror
