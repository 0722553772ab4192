import numpy as np
import pytest

from hsnn.indexer.errors import VersionNotFoundError
from hsnn.indexer.store import posting_lists
from hsnn.indexer.store.delta import Delta
from hsnn.indexer.store.posting_lists import LeafSlot
from hsnn.indexer.store.shards import UNINDEXED_LEAF
from hsnn.indexer.verify.verify import KINDS, verify

pytestmark = pytest.mark.every_server


@pytest.fixture
def version(leader, store, toy) -> None:
    """Version 1 of eight items, two of which have an end."""
    toy.put("i6", 2, expires_at=toy.watermark + 500)
    toy.put("i7", 3, expires_at=toy.watermark + 600)
    leader.publish(toy.snapshot(), "test")
    assert verify(store, 1).clean


def location(store, shard_keys, item: str) -> LeafSlot:
    return LeafSlot.parse(store.redis.hget(shard_keys.item_map, item))


def test_planted_damage_of_every_kind_is_named(store, toy, version, shard_keys_of) -> None:
    store.redis.hdel(shard_keys_of("i1").item_map, "i1")
    store.redis.hset(shard_keys_of("ghost").item_map, "ghost", "2:0")
    store.redis.hset(shard_keys_of("i2").item_map, "i2", "0:0")
    store.redis.hset(shard_keys_of("i3").item_map, "i3", "no place")
    leaf = shard_keys_of("i0").leaf_key(0)
    at = 20 * location(store, shard_keys_of("i0"), "i0").slot
    store.redis.setrange(leaf, at, posting_lists.pack(np.array([~0]), np.ones((1, 3))))
    store.redis.append(leaf, posting_lists.pack(np.array([77]), np.ones((1, 3))))
    store.redis.zrem(shard_keys_of("i6").expiry_set, "i6")
    store.redis.zadd(shard_keys_of("i7").expiry_set, {"i7": 5})
    toy.delete("i4")
    toy.put("new", 1)
    store.apply(1, [Delta("delete", 1, 5, "i5")])
    report = verify(store, 1)
    assert (report.missing, report.extra, report.misplaced) == (["i1"], ["ghost"], ["i2", "i3"])
    assert (report.unposted, report.stray, report.misdated) == (["i0"], ["row 77"], ["i6", "i7"])
    assert (report.stale, report.unassigned, report.catalogue_checked) == (["i4"], ["i5", "new"], True)
    assert report.counts == {
        "missing": 1,
        "extra": 1,
        "misplaced": 2,
        "unposted": 1,
        "stray": 1,
        "misdated": 2,
        "damaged": 0,
        "stale": 1,
        "unassigned": 2,
    }
    assert set(report.counts) == set(KINDS)
    assert not report.clean


def test_a_leaf_that_is_lost_or_cut_short_is_found(store, toy, version, shard_keys_of) -> None:
    leaf = shard_keys_of("i1").leaf_key(1)
    in_leaf = [item for item, node in toy.alive().items() if node == 1 and shard_keys_of(item).leaf_key(1) == leaf]
    blob = store.redis.get(leaf)
    store.redis.set(leaf, blob[:-1])
    report = verify(store, 1)
    assert report.unposted == sorted(in_leaf)  # nobody knows which bytes are missing
    assert report.damaged == [f"leaf 1, shard {shard_keys_of('i1').shard}"]
    store.redis.delete(leaf)
    assert verify(store, 1).unposted == sorted(in_leaf)


@pytest.mark.parametrize("bit", [0, 31, 32, 63, 100, 127, 128, 159])
def test_a_single_bit_of_a_record_is_missed(store, toy, version, shard_keys_of, bit, caplog) -> None:
    before = store.load_version(1).index.vectors
    leaf, slot = shard_keys_of("i1").leaf_key(1), location(store, shard_keys_of("i1"), "i1").slot
    at = 160 * slot + bit
    at += 7 - 2 * (at % 8)  # Redis counts the bits of a byte from the left
    store.redis.setbit(leaf, at, 1 - store.redis.getbit(leaf, at))
    report = verify(store, 1)
    assert report.damaged == [f"leaf 1, shard {shard_keys_of('i1').shard}"]
    assert "i1" in report.unposted
    assert not [record for record in caplog.records if record.name.startswith("hsnn.")]
    loaded = store.load_version(1).index.vectors
    assert f"{leaf} is damaged" in caplog.text
    assert (loaded != before).any(axis=1).nonzero()[0].tolist() == [toy.row("i1")]
    assert not loaded[toy.row("i1")].any(), "nothing rather than something wrong"


def test_a_record_in_a_foreign_leaf_and_a_second_one_are_stray(store, toy, version, shard_keys_of) -> None:
    shard_keys = shard_keys_of("i1")
    record = posting_lists.pack(np.array([1]), np.ones((1, 3)))
    store.redis.append(shard_keys.leaf_key(0), record)
    assert (verify(store, 1).stray, verify(store, 1).unposted) == (["i1"], [])
    store.redis.delete(shard_keys.leaf_key(0))
    store.redis.append(shard_keys.leaf_key(1), record)
    assert verify(store, 1).stray == ["i1"]
    store.redis.append(shard_keys.leaf_key(UNINDEXED_LEAF), record)
    assert "i1" in verify(store, 1).stray


def test_items_that_expired_by_the_watermark_are_stale(store, toy, version) -> None:
    toy.pass_time(499)
    assert verify(store, 1).clean
    toy.pass_time(1)
    assert verify(store, 1).stale == ["i6"], "by its own end"
    toy.put("i6", 2), toy.put("i7", 3)
    toy.pass_time(499)
    toy.engage("i0")
    assert verify(store, 1).stale == [], "each has a millisecond left"
    toy.pass_time(1)
    assert verify(store, 1).stale == [f"i{number}" for number in range(1, 8)]


def test_an_item_that_left_and_was_put_back_into_the_map_is_stale(
    leader, store, toy, version, follow, shard_keys_of
) -> None:
    toy.delete("i4")
    follow(leader)
    assert verify(store, 1).clean
    store.redis.hset(shard_keys_of("i4").item_map, "i4", "0:0")
    assert (verify(store, 1).stale, verify(store, 1).extra) == (["i4"], ["i4"])


def test_what_the_leader_does_within_the_patience_is_no_damage(leader, store, toy, version, follow) -> None:
    toy.delete("i4")
    toy.put("new", 1)
    waited = []

    def wait(seconds: float) -> None:
        waited.append(seconds)
        follow(leader)
        toy.put("newer", 2)

    assert verify(store, 1, 3.0, wait).clean
    assert waited == [3.0]
    assert verify(store, 1, 3.0, waited.append).unassigned == ["newer"]


def test_a_version_that_is_removed_meanwhile_is_not_called_damaged(leader, store, toy, version) -> None:
    toy.delete("i4")  # something to look at twice

    def replace(seconds: float) -> None:
        leader.publish(toy.snapshot(), "test")
        store.drop_version(1)

    with pytest.raises(VersionNotFoundError):
        verify(store, 1, 3.0, replace)


def test_a_version_that_is_not_in_use_is_held_against_no_catalogue(leader, store, toy, version, shard_keys_of) -> None:
    leader.publish(toy.snapshot(), "test")
    toy.pass_time(5000)
    assert verify(store, 1).clean
    assert not verify(store, 1).catalogue_checked
    assert len(verify(store, 2).stale) == 8
    store.redis.hdel(shard_keys_of("i1").item_map, "i1")
    assert verify(store, 1).missing == ["i1"]
