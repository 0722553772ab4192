"""Versions whose items are spread over several shards, and versions of different numbers of shards side by side."""

import numpy as np
import pytest

from hsnn.indexer.build.builder import Builder
from hsnn.indexer.build.leader import Leader
from hsnn.indexer.errors import FencedError, VersionChangedError, VersionNotFoundError
from hsnn.indexer.store.delta import Delta, pack_vector
from hsnn.indexer.store.lease import Lease, lease_key
from hsnn.indexer.store.shards import VersionShard, shard_of
from hsnn.indexer.store.writer import IndexStore
from hsnn.indexer.verify.verify import verify
from hsnn.streaming.redis.client import Redis
from hsnn.streaming.redis.keys import key

pytestmark = pytest.mark.every_server


def of(redis: Redis, shards: int, toy) -> Leader:
    """A leader that has pushed out whoever was before."""
    lease = Lease(redis, 3600, shard_count=shards)
    assert lease.acquire(force=True)
    store = IndexStore(redis, lease, chunk=3)
    leader = Leader(store, Builder(store))
    leader.resume()
    return leader


def insert(row: int, item: str) -> Delta:
    return Delta("insert", 1, row, item, 0, pack_vector(np.ones(3)))


def test_each_item_lies_in_the_shard_of_its_id(redis_client, toy) -> None:
    leader = of(redis_client, 4, toy)
    leader.publish(toy.snapshot(), "test")
    assert leader.store.manifest(1).shards == (0, 1, 2, 3)
    for name in toy.alive():
        holders = [shard for shard in range(6) if redis_client.hexists(VersionShard(1, shard).item_map, name)]
        assert holders == [shard_of(name, 4)]
    one = of(redis_client, 1, toy)
    one._builder.build_draft(1, "the same in one shard")
    found, same = (one.store.load_version(number).index for number in (1, 2))
    assert np.array_equal(found.vectors, same.vectors)
    assert np.array_equal(found.nodes, same.nodes)
    assert found.vectors.any(axis=1).all()


def test_versions_of_different_numbers_of_shards_live_side_by_side(redis_client, toy, follow) -> None:
    numbers = (1, 4, 2)
    for version, shards in enumerate(numbers, 1):
        leader = of(redis_client, shards, toy)
        leader.publish(toy.snapshot(), "test")
        toy.put(f"new{version}", 1)
        follow(leader)
        assert leader.store.item_nodes(version) == toy.alive()
        assert all(verify(leader.store, number).clean for number in range(1, version + 1))
    assert [len(leader.store.manifest(number).shards) for number in (1, 2, 3)] == list(numbers)
    leader.store.rollback(2)
    leader.resume()
    assert leader.store.item_nodes(2) == toy.alive()
    assert redis_client.get(key("shards")) == b"4"


def test_a_leader_with_fewer_shards_removes_what_one_with_more_left(redis_client, toy) -> None:
    many = of(redis_client, 5, toy)
    many.publish(toy.snapshot(), "test")
    many._builder.build_draft(toy.snapshot(), "dies")
    few = of(redis_client, 1, toy)
    redis_client.delete(key("version", 2))
    assert few.remove_unpublished() == [2]
    few.publish(toy.snapshot(), "test")
    few.store.drop_version(1)
    for shard in range(5):
        for name in ("part", "items", "expiry", "deltas"):
            assert not redis_client.exists(key(name, 1, shard=shard), key(name, 2, shard=shard))
        assert not redis_client.exists(*VersionShard(1, shard).leaf_keys(4))


def test_a_former_leader_is_fenced_in_every_shard(redis_client, toy) -> None:
    old = of(redis_client, 4, toy)
    old.publish(toy.snapshot(), "test")
    of(redis_client, 1, toy)
    for number in range(8):
        with pytest.raises(FencedError):
            old.store.apply(1, [insert(8 + number, f"new{number}")])
        with pytest.raises(FencedError):
            old.store.repair(1, (), [], [insert(8 + number, f"new{number}")])


def test_a_late_copy_of_an_old_lease_is_refused(redis_client) -> None:
    slow, quick = (Lease(redis_client, 3600, name, shard_count=3) for name in ("slow", "quick"))
    assert slow.acquire()
    value = slow.value
    for shard in range(3):  # its lease ends, as it does when nobody renews it
        redis_client.delete(lease_key(shard))
    assert quick.acquire()
    slow._value = value  # as if it woke up between taking shard 0 and handing on
    assert not slow._copy_to_shards()
    assert [redis_client.get(lease_key(shard)) for shard in range(3)] == [quick.value.encode()] * 3


def test_a_lease_that_is_renewed_holds_in_every_shard(redis_client) -> None:
    lease = Lease(redis_client, 3600, shard_count=3)
    assert lease.acquire()
    redis_client.delete(lease_key(2))
    for shard in range(2):
        redis_client.pexpire(lease_key(shard), 10_000)
    assert lease.renew()
    assert all(redis_client.pttl(lease_key(shard)) > 10_000 for shard in range(3))
    assert [redis_client.get(lease_key(shard)) for shard in range(3)] == [lease.value.encode()] * 3
    lease.release()
    assert [redis_client.get(lease_key(shard)) for shard in range(3)] == [None] * 3


def test_a_flip_is_refused_when_another_shard_moved_or_is_missing(redis_client, toy) -> None:
    leader = of(redis_client, 4, toy)
    leader.publish(toy.snapshot(), "test")
    seen, second = leader.store.last_delta_id(1), leader._builder.build_draft(toy.snapshot(), "test").manifest.version
    item = next(f"late{n}" for n in range(99) if shard_of(f"late{n}", 4) == 3)
    leader.store.apply(1, [insert(8, item)])
    with pytest.raises(VersionChangedError, match="has moved"):
        leader.store.flip(second, 1, seen)
    redis_client.delete(VersionShard(second, 2).header)
    with pytest.raises(VersionChangedError, match="not complete"):
        leader.store.flip(second, 1, leader.store.last_delta_id(1))
    assert leader.store.current() == 1


def test_a_call_that_arrives_twice_or_late_changes_nothing(redis_client, toy, monkeypatch) -> None:
    leader = of(redis_client, 1, toy)
    leader.publish(toy.snapshot(), "test")
    sent, send = [], redis_client.eval
    monkeypatch.setattr(redis_client, "eval", lambda *call: (sent.append(call), send(*call))[1])
    leader.store.apply(1, [insert(8, "x")])
    leader.store.apply(1, [Delta("delete", 1, 8, "x")])
    before = leader.store.last_delta_id(1)
    for call in (sent[0], sent[1], sent[0]):
        assert send(*call) == b"OK"
    assert leader.store.last_delta_id(1) == before
    assert "x" not in leader.store.item_nodes(1)
    successor = of(redis_client, 1, toy)
    successor.store.apply(1, [insert(9, "y")])
    assert "y" in successor.store.item_nodes(1), "who comes after counts on"


def test_deltas_of_all_shards_are_read_in_the_order_of_their_writing(redis_client, toy) -> None:
    leader = of(redis_client, 4, toy)
    leader.publish(toy.snapshot(), "test")
    for number in range(6):
        leader.store.apply(1, [insert(8 + number, f"new{number}")])
    leader.publish(toy.snapshot(), "test")
    leader.store.rollback(1)
    successor = of(redis_client, 4, toy)
    for number in range(6, 12):
        successor.store.apply(1, [insert(8 + number, f"new{number}")])
    names = [f"new{number}" for number in range(12)]
    assert len({shard_of(name, 4) for name in names}) == 4
    deltas = [delta for _, delta in successor.store.read_deltas(1) if delta.op != "delete"]
    assert [delta.item for delta in deltas] == [*names[:6], "", *names[6:]], "the flip in between"
    at, paged = "0-0", []
    while page := successor.store.read_deltas(1, at, count=1):
        at, paged = page[-1][0], paged + [delta for _, delta in page if delta.op != "delete"]
    assert paged == deltas


def test_a_version_that_lacks_a_part_is_gone_and_the_next_one_repairs_it(redis_client, toy) -> None:
    leader = of(redis_client, 3, toy)
    leader.publish(toy.snapshot(), "test")
    redis_client.delete(VersionShard(1, 2).header)
    successor = of(redis_client, 3, toy)
    assert successor.live is None
    with pytest.raises(VersionNotFoundError):
        successor.store.load_version(1)
    successor.publish(toy.snapshot(), "test")
    assert successor.store.item_nodes(2) == toy.alive()
    assert verify(successor.store, 2).clean
