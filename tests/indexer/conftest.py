"""A toy trainer whose items lie in planted clusters, so that the right node of every item is known."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import pytest

from hsnn.indexer.build.builder import Builder
from hsnn.indexer.build.leader import Leader
from hsnn.indexer.config import IndexerConfig
from hsnn.indexer.jobs.index_jobs import IndexJobs
from hsnn.indexer.store.lease import Lease
from hsnn.indexer.store.shards import VersionShard, shard_of
from hsnn.indexer.store.writer import IndexStore
from hsnn.monitoring.audit import AuditTrail
from hsnn.streaming.redis.client import Redis
from hsnn.streaming.redis.keys import key
from hsnn.trainer.config.model import ModelConfig
from hsnn.trainer.features.item_counters import HALF_LIVES
from hsnn.trainer.messages import Feed, FeedItem, Snapshot, SnapshotManifest, StateDelta
from hsnn.trainer.snapshot_chunks import write_snapshot

MODEL = ModelConfig(dim=2, nodes=4, item_tokens=2, buckets=16, history=3, user_tokens=1)
CENTRES = np.array([[4, 4], [-4, 4], [-4, -4], [4, -4]], np.float32)
IDLE = 1000


def now_ms() -> int:
    return time.time_ns() // 1_000_000


@dataclass
class ToyItem:
    id: str
    cluster: int
    ts: int
    last: int
    expires_at: int = 0
    deleted: bool = False


@dataclass
class ToyTrainer:
    """Writes what the trainer writes. `shift` moves every cluster to the next node: a new model."""

    redis: Redis
    idle: int | None = IDLE
    epoch: int = 1
    watermark: int = 10_000
    shift: int = 0
    items: list[ToyItem] = field(default_factory=list)
    feed_id: str = "0-0"
    state_id: str = "0-0"
    generation: int = 0
    trained: int = 0  # rows that the embedding table knew at the last snapshot
    mass_expiry_share: float = 1.0
    expiry_confirmed: int = 0

    def row(self, name: str) -> int:
        return next((row for row, item in enumerate(self.items) if item.id == name), -1)

    def node(self, cluster: int) -> int:
        return (cluster + self.shift) % len(CENTRES)

    def alive(self) -> dict[str, int]:
        """What must be in the index: item -> node."""
        return {item.id: self.node(item.cluster) for item in self.items if self._lives(item)}

    def put(self, name: str, cluster: int, expires_at: int = 0, sent_at: int = 0, ts: int | None = None) -> int:
        """An item event."""
        row = self.row(name)
        if row < 0:
            ts = self.watermark if ts is None else ts
            self.items.append(ToyItem(name, cluster, ts, ts))
            row = len(self.items) - 1
        item = self.items[row]
        item.cluster, item.expires_at, item.deleted = cluster, expires_at, False
        self.feed(row, sent_at=sent_at)
        return row

    def delete(self, name: str) -> None:
        self.items[self.row(name)].deleted = True
        self.feed(self.row(name))

    def feed(self, *rows: int, sent_at: int = 0) -> None:
        items = [
            FeedItem(i.id, row, [i.cluster], {"cluster": i.cluster}, i.ts, sent_at, i.expires_at or None, i.deleted)
            for row, i in ((row, self.items[row]) for row in rows)
        ]
        self.feed_id = self.redis.xadd(key("feed"), {b"d": Feed(self.epoch, items).encode()}).decode()

    def engage(self, name: str, ts: int | None = None) -> None:
        """An engagement; event time follows it."""
        item = self.items[self.row(name)]
        item.last = max(item.last, self.watermark if ts is None else ts)
        self.watermark = max(self.watermark, item.last)
        self.flush(self.row(name))

    def pass_time(self, ms: int) -> None:
        self.watermark += ms
        self.flush()

    def flush(self, *rows: int) -> None:
        n, m = len(rows), MODEL.history
        delta = StateDelta(
            self.epoch,
            0,
            self.watermark,
            0,
            np.array(rows, np.int32),
            np.ones((n, len(HALF_LIVES)), np.float32),
            np.array([self.items[r].last for r in rows], np.int64),
            np.array([self.items[r].ts for r in rows], np.int64),
            np.zeros(0, np.int32),
            np.zeros((0, m), np.int32),
            np.zeros((0, m), np.int64),
            np.zeros((0, 1), np.int32),
            expiry_confirmed=self.expiry_confirmed,
        )
        self.state_id = self.redis.xadd(key("state"), {b"d": delta.encode()}).decode()

    def snapshot(self, *, announce: bool = True) -> int:
        number = self.redis.incr(key("snapshot_number"))
        write_snapshot(self.redis, self._snapshot(number))
        if announce:
            self.redis.xadd(key("snapshots"), {b"n": number})
        return number

    def _snapshot(self, number: int) -> Snapshot:
        n = len(self.items)
        content = np.zeros((MODEL.buckets, 3), np.float32)
        for cluster in range(len(CENTRES)):
            content[cluster, :2] = CENTRES[self.node(cluster)]
        hierarchy = {
            "codes.0": np.c_[CENTRES, np.zeros(4, np.float32)],
            "head.weight": np.eye(2, dtype=np.float32),
            "metric": np.diag([1, 1, 0]).astype(np.float32),
            "discount_0": np.ones(4, np.float32),
            "representative_0": np.zeros((4, 2), np.float32),
        }
        model = {"content": content} | {f"levels.hierarchy.{name}": array for name, array in hierarchy.items()}
        column = {name: np.array([getattr(i, name) for i in self.items], np.int64) for name in ("last", "expires_at")}
        items = column | {
            "embeddings": np.random.default_rng(number).normal(0, 0.3, (n, 3)).astype(np.float32),
            "tokens": np.array([[i.cluster, -1] for i in self.items], np.int32).reshape(n, 2),
            "values": np.ones((n, len(HALF_LIVES)), np.float32),
            "first": np.array([i.ts for i in self.items], np.int64),
            "deleted": np.array([i.deleted for i in self.items], np.bool_),
        }
        users = {
            "items": np.zeros((0, MODEL.history), np.int32),
            "times": np.zeros((0, MODEL.history), np.int64),
            "tokens": np.zeros((0, 1), np.int32),
        }
        manifest = SnapshotManifest(
            snapshot=number,
            epoch=self.epoch,
            checkpoint=f"ckpt-{number}",
            events=n,
            watermark=self.watermark,
            state_id=self.state_id,
            feed_id=self.feed_id,
            half_life=0,
            model=MODEL.model_dump(mode="json"),
            config_digest="digest",
            expire_after_idle_ms=self.idle,
            generation=self.generation,
            mass_expiry_share=self.mass_expiry_share,
        )
        features = [{"cluster": item.cluster} for item in self.items]
        return Snapshot(manifest, model, items, users, [item.id for item in self.items], [], features)

    def restart(self) -> None:
        """A new incarnation, which gives its rows anew."""
        self.epoch += 1
        self.items.reverse()
        self.feed_id = self.state_id = "0-0"

    def _lives(self, item: ToyItem) -> bool:
        over = 0 < item.expires_at <= self.watermark
        idle = self.idle is not None and item.last + self.idle <= self.watermark
        return not (item.deleted or over or idle)


@pytest.fixture
def toy(redis_client: Redis) -> ToyTrainer:
    """Two items in each of four clusters."""
    trainer = ToyTrainer(redis_client)
    for number in range(8):
        trainer.put(f"i{number}", number % 4)
    return trainer


@pytest.fixture(scope="session")
def shards(server_kind: str) -> int:
    """One on the embedded server, as by default; several on the others."""
    return 1 if server_kind == "embedded" else 4


@pytest.fixture
def lease(redis_client: Redis, shards: int) -> Lease:
    taken = Lease(redis_client, ttl=3600, owner="test", shard_count=shards)
    assert taken.acquire()
    return taken


@pytest.fixture
def store(redis_client: Redis, lease: Lease) -> IndexStore:
    return IndexStore(redis_client, lease, chunk=3)


@pytest.fixture
def shard_keys_of(shards: int) -> Callable[[str], VersionShard]:
    """Keys of version 1 in the shard of an item."""
    return lambda item: VersionShard(1, shard_of(item, shards))


@pytest.fixture
def leader(store: IndexStore) -> Leader:
    return Leader(store, Builder(store))


@pytest.fixture
def config(shards: int) -> IndexerConfig:
    return IndexerConfig(alarm_patience="2s", shards=shards)


@pytest.fixture
def jobs(leader: Leader, config: IndexerConfig, redis_client: Redis) -> IndexJobs:
    return IndexJobs(leader, config, AuditTrail(redis_client, key("audit")))


@pytest.fixture
def follow() -> Callable[[Leader], None]:
    """One poll of the follower, without its thread."""
    from hsnn.indexer.store.streams import read_entries

    def poll(leader: Leader) -> None:
        catalogue, positions = leader.read_positions()
        if positions:
            leader.apply_entries(catalogue, read_entries(leader.store.redis, positions))

    return poll
