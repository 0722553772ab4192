"""A Redis that refuses writes: the trainer goes on, says what and why, and publishes everything afterwards."""

from __future__ import annotations

import logging

import numpy as np
import pytest

from hsnn.embedded.redis import EmbeddedRedis
from hsnn.indexer.store.reader import IndexReader
from hsnn.indexer.store.retention import Retention
from hsnn.monitoring.health import Health
from hsnn.streaming.redis.client import connect
from hsnn.streaming.redis.keys import key
from hsnn.trainer import snapshot_chunks
from hsnn.trainer.messages import FeedItem, Snapshot, SnapshotManifest
from hsnn.trainer.metrics import REDIS_REFUSED
from hsnn.trainer.publish import redis_writer as module
from hsnn.trainer.publish.redis_writer import RedisWriter
from tests.trainer.encoded import encoded

ITEM = FeedItem(id="i", row=0, tokens=[], features={"text": "x" * 50_000}, ts=1, sent_at=1)


@pytest.fixture
def server():
    with EmbeddedRedis() as server:
        yield server


@pytest.fixture
def redis(server):
    client = connect(server.url)
    yield client
    client.close()


@pytest.fixture
def health() -> Health:
    health = Health("trainer")
    health.set_ready("trainer")
    return health


@pytest.fixture
def writer(redis, health, monkeypatch) -> RedisWriter:
    monkeypatch.setattr(module, "_FIRST_PAUSE", 0.0)
    return RedisWriter(redis, notify=lambda text: health.set_problem("redis", text))


def snapshot(number: int, users: int = 10) -> Snapshot:
    manifest = SnapshotManifest(
        snapshot=number,
        epoch=1,
        checkpoint="",
        events=1,
        watermark=1,
        state_id="0-0",
        feed_id="0-0",
        half_life=0,
        model={},
        config_digest="",
    )
    arrays = {"times": np.arange(4 * users, dtype=np.int64).reshape(users, 4)}
    return Snapshot(manifest, {}, {}, arrays, ["i"], [f"u{number}" for number in range(users)])


def refused(write: str) -> float:
    return REDIS_REFUSED.labels(write)._value.get()


def full(redis):
    redis.config_set("maxmemory", "1")
    return lambda: redis.config_set("maxmemory", "0")


def read_only_user(redis):
    redis.acl_setuser("default", enabled=True, nopass=True, keys=["*"], commands=["+@all", "-xadd", "-hset"])
    return lambda: redis.acl_setuser("default", enabled=True, nopass=True, keys=["*"], commands=["+@all"])


def blind_user(redis):
    """Take the right to read, as a part of what a write needs: the time, the identity, the owner."""
    redis.acl_setuser("default", enabled=True, nopass=True, keys=["*"], commands=["+@all", *BLIND])
    return lambda: redis.acl_setuser("default", enabled=True, nopass=True, keys=["*"], commands=["+@all"])


BLIND = ("-@read", "-time", "-info")


def wrong_types(redis):
    for name in ("feed", "progress", "snapshots"):
        redis.delete(key(name))
        redis.set(key(name), "of another program")
    return lambda: redis.delete(key("feed"), key("progress"), key("snapshots"))


@pytest.mark.parametrize(
    ("refuse", "remedy"),
    [
        (full, "raise it"),
        (read_only_user, "lacks a right"),
        (blind_user, "lacks a right"),
        (wrong_types, "another program has written this key"),
    ],
)
def test_refused_writes_end_nothing_and_are_made_up_for(redis, writer, health, refuse, remedy, caplog):
    writer.write_feed([ITEM])
    fed, epoch, before = writer.feed_id, writer.epoch, refused("writing the feed")
    accept_again = refuse(redis)
    with caplog.at_level(logging.ERROR):
        writer.write_feed([ITEM])
        writer.write_feed([ITEM])  # not tried again under this epoch: readers would miss what came before
        assert not writer.write_snapshot(snapshot(writer.next_snapshot()))
        writer.write_progress({"trained": 3})
    assert writer.refused
    assert writer.feed_id == fed
    assert not writer.server_restarted
    assert refused("writing the feed") == before + 1
    ready, detail = health.readiness()
    assert not ready
    assert remedy in detail["problems"]["redis"]
    assert health.liveness()[0]
    own = [record.levelname for record in caplog.records if record.name.startswith("hsnn.")]
    assert own == ["ERROR"]  # one line, however often it is refused

    accept_again()
    writer.write_progress({"trained": 4})
    assert writer.server_restarted  # the loop begins a new epoch and publishes everything
    assert health.readiness()[0]
    writer.restart_epochs()
    assert writer.epoch > epoch
    number = writer.next_snapshot()
    assert writer.write_snapshot(snapshot(number))
    assert redis.xrevrange(key("snapshots"), count=1)[0][1] == {b"n": str(number).encode()}
    writer.write_feed([ITEM])
    assert writer.feed_id != fed


def test_half_a_snapshot_is_removed(redis, writer, monkeypatch):
    monkeypatch.setattr(snapshot_chunks, "CHUNK_BYTES", 1000)
    number, sent = writer.next_snapshot(), []
    write = writer._bulk.set

    def fill_up(*args, **kwargs):
        sent.append(args)
        if len(sent) == 3:
            redis.config_set("maxmemory", "1")
        return write(*args, **kwargs)

    writer._bulk.set = fill_up
    assert not writer.write_snapshot(snapshot(number, users=1000))
    assert len(sent) == 3
    assert not redis.exists(key("snapshot", number))
    assert not redis.keys("*chunk*")


def test_pauses_grow_while_a_snapshot_is_refused_again_and_again(redis, writer, monkeypatch):
    monkeypatch.setattr(module, "_LONGEST_PAUSE", 4.0)
    writer._pause = 1.0
    for expected in (1.0, 2.0, 4.0, 4.0):
        redis.config_set("maxmemory", "1")
        for _ in range(5):  # what finds out whether Redis accepts again must not make the pause longer
            writer.write_progress({})
        assert writer._pause == expected
        redis.config_set("maxmemory", "0")
        writer.write_progress({})
        assert not writer.server_restarted  # the pause is not over
        writer._refused_at -= expected
        writer.write_progress({})
        assert writer.server_restarted
        writer.restart_epochs()
    assert writer.write_snapshot(snapshot(writer.next_snapshot()))
    assert writer._pause == module._FIRST_PAUSE


def test_a_snapshot_larger_than_a_value_may_be_is_written_in_chunks(redis, writer, monkeypatch):
    redis.config_set("proto-max-bulk-len", 1 << 20)
    monkeypatch.setattr(snapshot_chunks, "CHUNK_BYTES", 300_000)
    whole = snapshot(writer.next_snapshot(), users=60_000)
    assert max(map(len, encoded(whole).values())) > 1 << 20
    assert writer.write_snapshot(whole)
    names = redis.keys("*:chunk:*")
    assert max(map(redis.strlen, names)) == 300_000
    read = Retention(redis).load_snapshot(whole.manifest.snapshot)
    np.testing.assert_array_equal(read.users["times"], whole.users["times"])
    assert read.user_ids == whole.user_ids


def test_a_trainer_removes_what_one_that_was_killed_has_half_written(redis, writer):
    announced, killed = snapshot(writer.next_snapshot()), snapshot(writer.next_snapshot())
    assert writer.write_snapshot(announced)
    snapshot_chunks.write_snapshot(redis, killed)
    redis.delete(key("snapshot", killed.manifest.snapshot))  # the head is written last
    successor = RedisWriter(redis)
    number = successor.next_snapshot()
    assert successor.write_snapshot(snapshot(number))
    assert snapshot_chunks.snapshots_with_chunks(redis) == [announced.manifest.snapshot, number]
    assert len(redis.keys("*:chunk:*")) == 8


def test_the_arrival_of_the_last_event_is_noted_by_the_clock_of_redis_and_outlives_the_trainer(redis, writer):
    reader = IndexReader(redis)
    assert reader.arrival() == (0, 0)
    writer.write_progress({"watermark": 7})
    first = redis.hget(key("progress"), "arrived_at")
    redis.hset(key("progress"), "arrived_at", int(first) - 60_000)
    again = RedisWriter(redis)
    again.write_progress({"watermark": 7})  # nothing came since
    arrival = reader.arrival()
    assert arrival.watermark == 7
    assert arrival.silent_ms >= 60_000
    again.write_progress({"watermark": 8})
    assert reader.arrival().silent_ms < 60_000
    redis.hset(key("progress"), "arrived_at", int(first) + 86_400_000)  # Redis's clock was set back since
    assert reader.arrival().silent_ms == 0
