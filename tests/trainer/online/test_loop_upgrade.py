"""A live loop is upgraded from what the release before has stored, and no event is lost."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from redis import Redis

from hsnn.config.loader import Loaded
from hsnn.config.schema import Config
from hsnn.doctor.upgrade import upgrade_stored
from hsnn.indexer.build.builder import Builder
from hsnn.indexer.build.leader import Leader
from hsnn.indexer.store.lease import Lease
from hsnn.indexer.store.reader import IndexReader
from hsnn.indexer.store.writer import IndexStore
from hsnn.indexer.verify.verify import verify
from hsnn.serving.mirror.mirror import Mirror
from hsnn.streaming.errors import LayoutError
from hsnn.streaming.redis.keys import key, shard_tag
from hsnn.streaming.redis.layout import check_layout
from hsnn.trainer.checkpoint.renamed_parts import old_name
from hsnn.trainer.checkpoint.store import MANIFEST, CheckpointStore, Manifest
from hsnn.trainer.snapshot_chunks import read_snapshot
from tests.trainer.encoded import encoded
from tests.trainer.online.loops import BAD, EVENTS, bits, until

pytestmark = pytest.mark.slow

SHARDS = 3


def as_first_layout(redis: Redis) -> None:
    """Store as layout 1 did: snapshots in hashes, each version with a copy, shards by their numbers."""
    for name in redis.keys("hsnn:{0}:snapshot:*") + redis.keys("hsnn:{0}:version:*"):
        if redis.type(name) == b"hash":
            redis.hset(name, mapping=encoded(read_snapshot(redis, redis.hgetall(name))))
            redis.hdel(name, "chunks")
    redis.delete(*redis.keys("*:chunk:*"), key("chunks"), key("layout"))
    for shard in range(1, SHARDS):
        for name in redis.keys(f"hsnn:{{{shard_tag(shard)}}}:*"):
            redis.rename(name, name.replace(shard_tag(shard).encode(), b"%d" % shard, 1))


def as_first_format(folder: Path) -> None:
    """Store the newest checkpoint as format 1 did: under the old names, without a number."""
    store = CheckpointStore(folder, kept=3)
    newest = store.newest()
    assert newest is not None
    arrays = {old_name(name): array for name, array in newest.arrays.items()}
    learner = {old_name(f"learner.{name}").removeprefix("learner."): v for name, v in newest.values["learner"].items()}
    about = newest.manifest
    name = store.write(
        arrays,
        {**newest.values, "learner": learner},
        events=about.events,
        watermark=about.watermark,
        config_digest=about.config_digest,
        model=about.model,
        threads=about.threads,
    )
    path = folder / name / MANIFEST
    manifest = msgspec.json.decode(path.read_bytes(), type=Manifest)
    path.write_bytes(msgspec.json.encode(msgspec.structs.replace(manifest, format=msgspec.UNSET).sealed()))


def leader_of(redis: Redis) -> tuple[Lease, Leader]:
    lease = Lease(redis, ttl=30, shard_count=SHARDS)
    assert lease.acquire()
    store = IndexStore(redis, lease)
    return lease, Leader(store, Builder(store))


def test_a_live_loop_is_upgraded_and_no_event_is_lost(undisturbed, new_loop, redis_client, redis_server, tmp_path):
    redis_client.delete(*redis_client.keys("hsnn:{0}:*"))  # of the undisturbed run; the log stays
    first = new_loop("live")
    first.run(until(first, 650))
    learned = first.learner.events
    assert 650 <= learned < EVENTS, "the rest waits in the log"
    lease, leader = leader_of(redis_client)
    number = leader.publish(leader.store.newest_snapshot().snapshot, "before").version
    lease.release()
    redis_client.delete(key("trainer", "lease"))
    before = IndexReader(redis_client).load_version(number)
    as_first_layout(redis_client)
    as_first_format(tmp_path / "live")

    with pytest.raises(LayoutError, match="run `hsnn upgrade` once"):
        check_layout(redis_client)
    config = Config(redis={"url": redis_server}, trainer={"checkpoint_dir": tmp_path / "live"})
    assert "would get other names" in " ".join(
        finding.text for finding in upgrade_stored(Loaded(config, {}), dry_run=True)
    )
    assert {finding.state for finding in upgrade_stored(Loaded(config, {}), dry_run=False)} == {"ok"}
    check_layout(redis_client)

    mirror, version = Mirror(), IndexReader(redis_client).load_version(number)
    mirror.load_version(version)  # a new server serves the old version meanwhile
    assert encoded(version.snapshot) == encoded(before.snapshot)
    assert version.index.vectors.tobytes() == before.index.vectors.tobytes()
    second = new_loop("live")
    assert second.learner.events == learned
    second.run(until(second, EVENTS))
    assert (second.progress.trained, second.progress.dead_lettered) == (EVENTS, BAD)
    assert bits(second) == bits(undisturbed)
    lease, leader = leader_of(redis_client)
    leader.resume()
    assert leader.catalogue is not None, "the new leader goes on from the old version"
    made = leader.publish(leader.store.newest_snapshot().snapshot, "after")
    assert made.events == EVENTS
    assert verify(leader.store, made.version).clean
    leader.store.drop_version(number)
    assert not redis_client.exists(key("version", number))
    mirror.load_version(IndexReader(redis_client).load_version(made.version))
    lease.release()
