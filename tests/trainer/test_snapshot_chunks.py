"""Snapshots in chunks: they come back, whatever is damaged is named, and no more than a chunk is held beside them."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from redis.crc import key_slot

from hsnn.streaming.redis.keys import key
from hsnn.trainer import snapshot_chunks
from hsnn.trainer.errors import SnapshotDamagedError
from hsnn.trainer.messages import Snapshot, SnapshotManifest
from hsnn.trainer.publish.snapshot import SnapshotOrigin, make_snapshot_manifest
from hsnn.trainer.publish.snapshot_encoder import SnapshotEncoder
from hsnn.trainer.rowstore.table import TableKind, served_columns
from hsnn.trainer.snapshot_chunks import chunk_key, read_snapshot, write_snapshot
from tests.trainer.encoded import encoded


def snapshot(number: int = 7, users: int = 1000) -> Snapshot:
    manifest = SnapshotManifest(
        snapshot=number,
        epoch=1,
        checkpoint="one",
        events=1,
        watermark=1,
        state_id="0-0",
        feed_id="0-0",
        half_life=0,
        model={},
        config_digest="",
    )
    arrays = {
        "times": np.arange(16 * users, dtype=np.int64).reshape(users, 16),
        "flags": np.arange(users) % 3 == 0,
        "none": np.zeros((0, 11), np.uint8),
    }
    return Snapshot(manifest, {"step": np.array(3.0, np.float32)}, {}, arrays, ["i"], [f"u{n}" for n in range(users)])


@pytest.fixture
def small(monkeypatch) -> None:
    monkeypatch.setattr(snapshot_chunks, "CHUNK_BYTES", 10_000)


@pytest.mark.every_server
def test_a_snapshot_comes_back_from_chunks(redis_client, small):
    whole = snapshot()
    write_snapshot(redis_client, whole)
    head = redis_client.hgetall(key("snapshot", 7))
    assert max(map(len, head.values())) < 1000
    read = read_snapshot(redis_client, head)
    assert read.manifest == whole.manifest
    assert encoded(read) == encoded(whole)
    assert read.users["times"].flags.writeable


def test_chunks_lie_in_the_slots_of_every_node_of_a_cluster():
    nodes = [key_slot(chunk_key(7, number).encode()) * 3 // 16_384 for number in range(30)]
    assert min(nodes.count(node) for node in range(3)) >= 8


def test_the_layout_before_is_read(redis_client):
    whole = snapshot()
    fields = encoded(whole)
    users = fields.pop(b"users")
    fields |= {b"users": users[:5000], b"users:1": users[5000:90_000], b"users:2": users[90_000:]}
    redis_client.hset(key("snapshot", 7), mapping=fields)
    assert encoded(read_snapshot(redis_client, redis_client.hgetall(key("snapshot", 7)))) == encoded(whole)


@pytest.mark.parametrize("damage", ["missing", "shorter", "other"])
def test_a_damaged_chunk_is_named(redis_client, small, damage):
    write_snapshot(redis_client, snapshot())
    name = chunk_key(7, 4)
    if damage == "missing":
        redis_client.delete(name)
    elif damage == "shorter":
        redis_client.set(name, redis_client.get(name)[:-1])
    else:
        redis_client.setrange(name, 17, b"?")
    with pytest.raises(SnapshotDamagedError, match=r"chunk:7:4 is (missing|damaged), so its snapshot"):
        read_snapshot(redis_client, redis_client.hgetall(key("snapshot", 7)))


def test_a_later_format_is_refused_in_words(redis_client):
    write_snapshot(redis_client, snapshot())
    head = redis_client.hgetall(key("snapshot", 7))
    head[b"chunks"] = head[b"chunks"].replace(b'"format":1', b'"format":2')
    with pytest.raises(SnapshotDamagedError, match="upgrade this process"):
        read_snapshot(redis_client, head)


class _Discarding:
    """A client that keeps nothing, and counts bytes."""

    written = 0

    def hset(self, *args, **kwargs) -> None:
        pass

    def set(self, name, value) -> None:
        self.written += len(value)


def test_a_writer_holds_a_chunk_beside_the_arrays(taught, monkeypatch):
    learner, _ = taught
    arrays = dict(learner.state_dict()[0])
    column = served_columns(learner.tables, TableKind.ITEM)["embeddings"]
    arrays[column] = np.zeros((200_000, 33), np.float32)  # 26 MB
    encoder = SnapshotEncoder(make_snapshot_manifest(learner, SnapshotOrigin(1, 1)), arrays, learner.tables)
    monkeypatch.setattr(snapshot_chunks, "CHUNK_BYTES", 1 << 20)
    client = _Discarding()
    tracemalloc.start()
    write_snapshot(client, encoder)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert client.written > arrays[column].nbytes
    assert peak < 4 << 20
