import numpy as np
import pytest

from hsnn.indexer.build.builder import Builder
from hsnn.indexer.errors import (
    FencedError,
    RollbackError,
    SnapshotNotFoundError,
    VersionChangedError,
    VersionInUseError,
    VersionNotFoundError,
)
from hsnn.indexer.store.delta import Delta, pack_vector
from hsnn.indexer.store.lease import Lease, lease_key
from hsnn.indexer.store.shards import shard_of
from hsnn.indexer.store.writer import IndexStore
from hsnn.streaming.redis.client import Redis

pytestmark = pytest.mark.every_server


def insert(row: int, item: str, node: int) -> Delta:
    return Delta("insert", 1, row, item, node, pack_vector(np.ones(3)), reason="new")


def draft(store, toy):
    return Builder(store).build_draft(toy.snapshot(), "test")


def test_nothing_is_visible_before_the_flip(store, toy) -> None:
    made = draft(store, toy)
    assert (store.current(), store.versions()) == (None, [])
    made.publish(None)
    assert (store.current(), store.versions()) == (1, [1])


def test_a_version_holds_its_snapshot_and_the_planted_nodes(store, toy) -> None:
    draft(store, toy).publish(None)
    version = store.load_version(1)
    assert version.manifest.checkpoint == "ckpt-1"
    assert (version.manifest.items, version.manifest.rows, version.manifest.nodes) == (8, 8, 4)
    assert version.snapshot.item_ids == [f"i{n}" for n in range(8)]
    assert version.index.nodes.tolist() == [0, 1, 2, 3, 0, 1, 2, 3]
    assert version.index.vectors.shape == (8, 3)
    assert sorted(version.index.representatives % 4) == [0, 1, 2, 3]
    assert store.item_nodes(1) == toy.alive()


def test_deltas_change_map_and_stream_together_in_order(store, toy, shards) -> None:
    draft(store, toy).publish(None)
    moved = Delta("move", 1, 0, "i0", 3, pack_vector(np.ones(3)))
    deltas = [insert(8, "new", 2), moved, Delta("delete", 1, 1, "i1"), insert(9, "n", 0)]
    store.apply(1, deltas)
    expected = toy.alive() | {"new": 2, "i0": 3, "n": 0}
    del expected["i1"]
    assert store.item_nodes(1) == expected
    found = store.read_deltas(1)
    for shard in range(shards):
        mine = [
            [delta for delta in of if shard_of(delta.item, shards) == shard] for of in (deltas, dict(found).values())
        ]
        assert mine[0] == mine[1]
    assert store.last_delta_id(1) == found[-1][0]
    assert store.read_deltas(1, after=found[1][0], count=1)[0] == found[2]


def test_a_second_delivery_changes_nothing(store, toy) -> None:
    draft(store, toy).publish(None)
    deltas = [insert(8, "new", 2), Delta("delete", 1, 1, "i1")]
    store.apply(1, deltas)
    once = store.item_nodes(1)
    store.apply(1, deltas)
    assert store.item_nodes(1) == once


def run_out(redis_client: Redis) -> None:
    """Let the lease end, as it does when nobody renews it."""
    assert redis_client.delete(lease_key()) == 1


def test_a_paused_leader_changes_nothing(redis_client: Redis, toy) -> None:
    paused = Lease(redis_client, 3600, "paused")
    assert paused.acquire()
    old = IndexStore(redis_client, paused)
    draft(old, toy).publish(None)
    waiting = draft(old, toy)
    run_out(redis_client)
    successor = Lease(redis_client, 3600, "successor")
    assert successor.acquire()
    before = (old.item_nodes(1), old.last_delta_id(1), old.current(), old.versions())
    for write in (
        lambda: old.apply(1, [insert(8, "new", 2)]),
        lambda: old.flip(waiting.manifest.version, 1, old.last_delta_id(1)),
        lambda: old.drop_version(waiting.manifest.version),
        lambda: old.drop_snapshot(1),
    ):
        with pytest.raises(FencedError):
            write()
    assert (old.item_nodes(1), old.last_delta_id(1), old.current(), old.versions()) == before
    assert old.snapshots() == [1, 2]
    IndexStore(redis_client, successor).apply(1, [insert(8, "new", 2)])
    assert old.item_nodes(1)["new"] == 2


def test_a_lease_that_ran_out_unseen_is_fenced_too(redis_client: Redis, toy) -> None:
    lease = Lease(redis_client, 3600, "unseen")
    assert lease.acquire()
    store = IndexStore(redis_client, lease)
    draft(store, toy).publish(None)
    run_out(redis_client)
    with pytest.raises(FencedError, match="fenced"):
        store.apply(1, [insert(8, "new", 2)])


def test_a_store_without_lease_only_reads(redis_client: Redis, store, toy) -> None:
    draft(store, toy).publish(None)
    reader = IndexStore(redis_client)
    assert reader.load_version(1).manifest.version == 1
    with pytest.raises(FencedError, match="reading"):
        reader.apply(1, [insert(8, "new", 2)])


def test_a_flip_is_refused_when_a_delta_came_in_between(store, toy) -> None:
    draft(store, toy).publish(None)
    second = draft(store, toy).manifest.version
    seen = store.last_delta_id(1)
    store.apply(1, [insert(8, "late", 2)])
    with pytest.raises(VersionChangedError):
        store.flip(second, 1, seen)
    assert store.current() == 1
    store.flip(second, 1, store.last_delta_id(1))
    assert store.current() == second
    assert Delta("superseded", version=second) in [delta for _, delta in store.read_deltas(1)]


def test_a_flip_is_refused_when_the_pointer_is_another(store, toy) -> None:
    draft(store, toy).publish(None)
    draft(store, toy).publish(None)
    third = draft(store, toy).manifest.version
    with pytest.raises(VersionChangedError):
        store.flip(third, 1, store.last_delta_id(1))
    with pytest.raises(VersionChangedError):
        store.flip(99, 2, store.last_delta_id(2))
    assert store.current() == 2


def test_rollback_flips_back_and_the_old_deltas_go_on(store, toy) -> None:
    draft(store, toy).publish(None)
    draft(store, toy).publish(None)
    store.rollback(1)
    assert (store.current(), store.versions()) == (1, [1, 2])
    store.apply(1, [insert(8, "new", 2)])
    assert [delta.op for _, delta in store.read_deltas(1)] == ["superseded", "insert"]
    assert store.read_deltas(2)[-1][1].version == 1


def test_rollback_says_why_not(store, toy) -> None:
    with pytest.raises(RollbackError, match="not kept; there are none"):
        store.rollback(1)
    draft(store, toy).publish(None)
    with pytest.raises(RollbackError, match="current one already"):
        store.rollback(1)
    toy.restart()
    draft(store, toy).publish(None)
    with pytest.raises(RollbackError, match="epoch 1"):
        store.rollback(1)


def test_the_current_version_cannot_be_dropped(store, toy) -> None:
    draft(store, toy).publish(None)
    with pytest.raises(VersionInUseError):
        store.drop_version(1)
    assert store.load_version(1).manifest.version == 1


def test_what_is_gone_is_named(store, toy) -> None:
    with pytest.raises(VersionNotFoundError, match="version 5"):
        store.load_version(5)
    with pytest.raises(VersionNotFoundError, match="version 5"):
        store.manifest(5)
    with pytest.raises(SnapshotNotFoundError, match="snapshot 5"):
        store.load_snapshot(5)


def test_a_blocking_read_returns_with_the_delta(store, toy) -> None:
    draft(store, toy).publish(None)
    assert store.read_deltas(1, block_ms=20) == []
    store.apply(1, [insert(8, "new", 2)])
    assert store.read_deltas(1, block_ms=1000)[0][1].item == "new"
