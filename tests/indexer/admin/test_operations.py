"""A person beside the leader: whatever is broken is repaired, a hold lasts, and the old leader writes nothing more."""

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from hsnn.indexer.admin import operations
from hsnn.indexer.admin.repair import repair
from hsnn.indexer.build.builder import Builder
from hsnn.indexer.build.leader import Leader
from hsnn.indexer.errors import FencedError, PublishHeldError, RollbackError
from hsnn.indexer.jobs.index_jobs import IndexJobs
from hsnn.indexer.store import posting_lists
from hsnn.indexer.store.delta import Delta, pack_vector
from hsnn.indexer.store.lease import Lease
from hsnn.indexer.store.posting_lists import LeafSlot
from hsnn.indexer.store.publish_hold import current_hold
from hsnn.indexer.store.shards import shard_of
from hsnn.indexer.store.writer import IndexStore, RecordLocation
from hsnn.indexer.verify.verify import KINDS, verify
from hsnn.monitoring.audit import AuditTrail
from tests import servers
from tests.waiting import wait_until

pytestmark = pytest.mark.every_server


def trail(store):
    return AuditTrail(store.redis, store.key("audit")).read()


DAMAGES = (*KINDS, "unreadable", "cut short", "lost")


def plant(store, toy, kind: str, number: int) -> None:
    """Damage of one kind, done to item number of the toy."""
    name, row, node = f"i{number}", number, number % 4
    shard_keys = store.shards(1)[shard_of(name, len(store.shards(1)))]
    record = posting_lists.pack(np.array([row]), np.full((1, 3), 9.0))
    location = LeafSlot.parse(store.redis.hget(shard_keys.item_map, name) or b"")
    if kind == "missing":
        store.redis.hdel(shard_keys.item_map, name)
    elif kind == "extra":
        ghost = f"ghost{number}"
        store.redis.hset(store.shards(1)[shard_of(ghost, len(store.shards(1)))].item_map, ghost, "1:0")
    elif kind == "misplaced":
        store.redis.hset(shard_keys.item_map, name, f"{node}:9")
    elif kind == "unreadable":
        store.redis.hset(shard_keys.item_map, name, "?")
    elif kind == "unposted" and 20 * location.slot <= store.redis.strlen(
        shard_keys.leaf_key(node)
    ):  # no zeros in between
        store.redis.setrange(
            shard_keys.leaf_key(node), 20 * max(location.slot, 0), posting_lists.pack(np.array([~row]), np.ones((1, 3)))
        )
    elif kind == "stray":
        store.redis.append(shard_keys.leaf_key((node + 1) % 4), record)
    elif kind == "damaged":
        at = 160 * max(location.slot, 0) + 8 * number  # within the record of five words
        store.redis.setbit(shard_keys.leaf_key(node), at, 1 - store.redis.getbit(shard_keys.leaf_key(node), at))
    elif kind == "cut short":
        store.redis.set(shard_keys.leaf_key(node), (store.redis.get(shard_keys.leaf_key(node)) or b"")[:-3])
    elif kind == "lost":
        store.redis.delete(shard_keys.leaf_key(node))
    elif kind == "misdated":
        store.redis.zadd(shard_keys.expiry_set, {name: 5})
    elif kind == "stale":
        toy.delete(name)
    elif kind == "unassigned":
        store.apply(1, [Delta("delete", 1, row, name)])


@pytest.mark.parametrize("kind", KINDS)
def test_damage_of_every_kind_is_repaired(leader, store, toy, config, kind) -> None:
    leader.publish(toy.snapshot(), "test")
    plant(store, toy, kind, 3)
    before, after = repair(store.redis, 1, config)
    besides = {"unposted": len(before.unposted)} if kind == "damaged" else {}  # nothing in that leaf counts
    assert before.counts == dict.fromkeys(KINDS, 0) | besides | {kind: 1}
    assert after.clean
    assert store.item_nodes(1) == toy.alive()
    assert verify(store, 1).clean
    (entry,) = trail(store)
    assert (entry.event, entry.outcome, entry.version) == ("repair", "done", 1)
    assert (entry.detail["found"], entry.detail["left"]) == (before.counts, after.counts)


@pytest.mark.slow
def test_any_damage_is_repaired(redis_client, toy, config, server_kind) -> None:
    @servers.examples(server_kind, 30)
    @given(damage=st.lists(st.tuples(st.sampled_from(DAMAGES), st.integers(0, 7)), max_size=12))
    @example(damage=[("cut short", 0), ("stray", 3)])
    def holds(damage) -> None:
        redis_client.flushall()
        lease = Lease(redis_client, 3600, shard_count=config.shards)
        assert lease.acquire()
        store, world = IndexStore(redis_client, lease), type(toy)(redis_client)
        for number in range(8):
            world.put(f"i{number}", number % 4)
        Leader(store, Builder(store)).publish(world.snapshot(), "test")
        for kind, number in damage:
            plant(store, world, kind, number)
        _, after = repair(redis_client, 1, config)
        assert after.clean
        assert store.item_nodes(1) == world.alive()
        made, rows = Builder(store).build_draft(1, "as it should be"), [world.row(item) for item in world.alive()]
        found, wanted = (store.load_version(number).index.vectors[rows] for number in (1, made.manifest.version))
        np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-6)  # encoded in other company: another last bit

    holds()


def test_readers_are_told_of_what_a_repair_changes(leader, store, toy, config) -> None:
    leader.publish(toy.snapshot(), "test")
    toy.delete("i0")
    plant(store, toy, "unassigned", 1)
    last = store.last_delta_id(1)
    repair(store.redis, 1, config)
    assert {(delta.op, delta.item, delta.reason) for _, delta in store.read_deltas(1, last)} == {
        ("delete", "i0", "deleted"),
        ("insert", "i1", "new"),
    }


def test_what_comes_during_a_repair_is_not_held_against_it(leader, store, toy, config, monkeypatch) -> None:
    leader.publish(toy.snapshot(), "test")
    plant(store, toy, "missing", 1)
    repair_records = IndexStore.repair

    def busily(*arguments):
        repair_records(*arguments)
        toy.put("new", 1)

    monkeypatch.setattr(IndexStore, "repair", busily)
    assert repair(store.redis, 1, config)[1].clean
    assert verify(store, 1).unassigned == ["new"], "the leader's next step"


def test_an_older_version_is_repaired_too(leader, store, toy, config) -> None:
    leader.publish(toy.snapshot(), "test")
    leader.publish(toy.snapshot(), "test")
    plant(store, toy, "missing", 1)
    toy.pass_time(5000)
    assert repair(store.redis, 1, config)[1].clean
    assert len(store.item_nodes(1)) == 8, "only the version in use is held against the catalogue"
    assert len(verify(store, 2).stale) == 8


def test_the_leader_is_fenced_by_a_repair_and_a_fenced_repair_writes_nothing(
    leader, store, toy, config, shard_keys_of
) -> None:
    leader.publish(toy.snapshot(), "test")
    location = LeafSlot.parse(store.redis.hget(shard_keys_of("i1").item_map, "i1"))
    removed = [RecordLocation(shard_keys_of("i1").shard, *location, 1)]
    plant(store, toy, "missing", 1)
    repaired = Delta("insert", row=1, item="i1", node=1, packed=pack_vector(np.ones(3)))
    with operations.leadership(store.redis, config) as leading_store:
        with pytest.raises(FencedError):
            store.repair(1, (), removed, [repaired])
        assert "i1" not in store.item_nodes(1)
        leading_store.repair(1, (), removed, [repaired])
    assert store.redis.get(store.key("lease")) is None, "given back"
    assert verify(store, 1).clean


def test_the_lease_is_kept_through_a_long_repair(store, config, monkeypatch) -> None:
    monkeypatch.setattr("hsnn.streaming.redis.lease_keeper._RENEWALS_PER_TTL", 10_000)
    with operations.leadership(store.redis, config) as leading_store:
        store.redis.pexpire(store.key("lease"), 1000)
        wait_until(lambda: store.redis.pttl(store.key("lease")) > 1000)
        leading_store.drop_snapshot(99)


def test_while_publishing_is_held_deltas_go_on_and_no_version_is_made(leader, store, jobs, toy, follow) -> None:
    toy.snapshot()
    jobs.refresh()
    operations.hold_publishing(store.redis, "the new model is bad")
    assert jobs.refresh().version == 1, "nothing to publish: nothing is held back"
    toy.snapshot()
    with pytest.raises(PublishHeldError, match="the new model is bad"):
        jobs.refresh()
    toy.put("new", 2)
    toy.delete("i0")
    follow(leader)
    assert store.item_nodes(1) == toy.alive()
    assert (store.current(), store.versions()) == (1, [1])
    assert operations.release_publishing(store.redis)
    assert jobs.refresh().version == store.current() == 2
    assert not operations.release_publishing(store.redis), "there is no hold any more"
    assert [entry.event for entry in trail(store)] == ["hold", "release"]
    assert trail(store)[0].detail["reason"] == "the new model is bad"


def test_a_hold_stops_the_version_that_is_being_built(store, toy) -> None:
    class Interrupted(Builder):
        def build_draft(self, number, reason, current_nodes):
            made = super().build_draft(number, reason, current_nodes)
            operations.hold_publishing(store.redis, "at the last moment")
            return made

    Leader(store, Builder(store)).publish(toy.snapshot(), "test")
    with pytest.raises(PublishHeldError):
        Leader(store, Interrupted(store)).publish(toy.snapshot(), "test")
    assert (store.current(), store.versions(), store.unpublished_versions()) == (1, [1], [2])


def test_a_rollback_with_a_hold_lasts(leader, store, toy, config, redis_client) -> None:
    leader.publish(toy.snapshot(), "test")
    leader.publish(toy.snapshot(), "test")
    operations.rollback(redis_client, 1, config, "rolled back")
    held = current_hold(store)
    assert (store.current(), held.reason) == (1, "rolled back")
    with operations.leadership(redis_client, config) as leading_store:
        toy.snapshot()
        jobs = IndexJobs(
            Leader(leading_store, Builder(leading_store)), config, AuditTrail(redis_client, store.key("audit"))
        )
        with pytest.raises(PublishHeldError):
            jobs.refresh()
    assert store.current() == 1
    assert [(entry.event, entry.version) for entry in trail(store)] == [("rollback", 1), ("hold", 1)]
    operations.rollback(redis_client, 2, config)
    assert current_hold(store) == held, "a hold lasts until it is released"


def test_a_rollback_that_fails_holds_nothing(leader, store, toy, config) -> None:
    leader.publish(toy.snapshot(), "test")
    with pytest.raises(RollbackError):
        operations.rollback(store.redis, 7, config, "rolled back")
    assert current_hold(store) is None
    assert trail(store) == []
