"""Rows that are reused in a running trainer: one meaning per epoch, and readers are told."""

from __future__ import annotations

import numpy as np
import pytest

from hsnn.indexer.build.builder import Builder
from hsnn.indexer.build.leader import Leader
from hsnn.indexer.errors import RollbackError
from hsnn.indexer.store.lease import Lease
from hsnn.indexer.store.writer import IndexStore
from hsnn.indexer.verify.verify import verify
from hsnn.streaming.redis.keys import key
from hsnn.trainer.config.ids import IdLimits, IdsConfig
from hsnn.trainer.config.index import IndexConfig
from hsnn.trainer.messages import Feed, StateDelta
from hsnn.trainer.online.loop import OnlineLoop
from hsnn.trainer.snapshot_chunks import read_snapshot
from tests.trainer.online.loops import BATCH, EVENTS, KilledError, bits

pytestmark = pytest.mark.slow


LIMITED = {
    "ids": IdsConfig(
        items=IdLimits(cap=100, expire_after=10.0), users=IdLimits(cap=30, admit_after=2), reuse_after=2 * BATCH
    ),
    "expire_after_idle": 60.0,
    "index": IndexConfig(seed_after=128),
}


def taken(loop: OnlineLoop) -> int:
    return loop.progress.trained + loop.progress.dropped.total()


def test_within_an_epoch_a_row_means_one_item_and_readers_are_told_of_the_next(filled, new_loop, redis_client):
    loop = new_loop("limited", **LIMITED)
    loop.run(lambda: taken(loop) >= EVENTS)
    assert taken(loop) == EVENTS
    assert loop.progress.dropped.total() < EVENTS / 3
    turns, meant = loop.learner.recycled, {}
    assert loop._writer.epoch == 1 + turns
    for _, fields in redis_client.xrange(key("feed")):
        feed = Feed.decode(fields[b"d"])
        for item in feed.items:
            assert meant.setdefault((feed.epoch, item.row), item.id) == item.id
    epochs = []
    for _, fields in redis_client.xrange(key("snapshots")):
        snapshot = read_snapshot(redis_client, redis_client.hgetall(key("snapshot", int(fields[b"n"]))))
        epochs.append(snapshot.manifest.epoch)
        for row, name in enumerate(snapshot.item_ids):
            assert not name or meant.setdefault((epochs[-1], row), name) == name
    told = [StateDelta.decode(fields[b"d"]).epoch for _, fields in redis_client.xrange(key("state"))]
    assert sorted(told) == told
    assert epochs == sorted(epochs)
    assert turns >= 6, "rows are reused though all events find none for a while"
    assert {*epochs} >= {*range(turns - 3, 2 + turns)}, "each new epoch has a snapshot at once, of which some are kept"
    rows = {row for _, row in meant}
    assert len({*meant.values()}) > len(rows), "rows were reused"


def test_a_version_from_before_a_reuse_is_not_rolled_back_to(filled, new_loop, redis_client):
    loop = new_loop("limited", **LIMITED)
    loop.run(lambda: taken(loop) >= EVENTS)
    lease = Lease(redis_client, ttl=30, owner="test")
    assert lease.acquire()
    store = IndexStore(redis_client, lease)
    leader = Leader(store, Builder(store))
    numbers = [int(fields[b"n"]) for _, fields in redis_client.xrange(key("snapshots"))]
    for number in numbers:
        leader.publish(number, "test")
        report = verify(store, store.current())
        assert not report.missing + report.extra + report.misplaced
    before, after = store.manifest(store.versions()[0]), store.manifest(store.current())
    assert before.epoch < after.epoch
    with pytest.raises(RollbackError, match="their rows mean different items"):
        store.rollback(before.version)
    assert store.current() == after.version
    assert {*store.item_nodes(after.version)} == alive_of(loop)


def alive_of(loop: OnlineLoop) -> set[str]:
    learner = loop.learner
    rows = np.flatnonzero(learner.alive(np.arange(len(learner.items))))
    return {learner.items.table.ids[row] for row in rows.tolist()}


def test_killed_while_rows_change_hands_and_resumed_is_bit_for_bit_the_undisturbed_run(filled, new_loop):
    whole = new_loop("whole", **LIMITED)
    whole.run(lambda: taken(whole) >= EVENTS)
    for death in (300, 700):
        loop = new_loop("killed", snapshot_interval=0.02, **LIMITED)

        def die(loop=loop, death=death) -> bool:
            if taken(loop) >= death and not loop._publisher.busy:
                raise KilledError
            return False

        with pytest.raises(KilledError):
            loop.run(die)
    last = new_loop("killed", **LIMITED)
    assert last.learner.events > 0
    last.run(lambda: taken(last) >= EVENTS)
    assert bits(last) == bits(whole)
