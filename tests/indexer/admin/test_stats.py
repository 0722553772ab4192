import time

import pytest

from hsnn.indexer.admin.stats import version_stats
from hsnn.indexer.errors import VersionNotFoundError
from hsnn.indexer.store.shards import VersionShard


def test_a_version_is_described_as_it_is_now(leader, store, toy, follow) -> None:
    leader.publish(toy.snapshot(), "test")
    leader.publish(toy.snapshot(), "test")
    toy.put("a", 0)
    toy.put("b", 0)
    toy.delete("i1"), toy.delete("i5")
    follow(leader)
    found = version_stats(store, 2)
    assert found.sizes[:2] == (8, 4)
    assert found.sizes.max_over_mean == 4 / 2
    assert found.sizes.std_over_mean == pytest.approx((((4 - 2) ** 2 + (0 - 2) ** 2) / 4) ** 0.5 / 2)
    assert (found.sizes.dead, found.deltas, found.current, version_stats(store, 1).current) == (1, 4, True, False)
    assert found.manifest == store.manifest(2)
    assert 0 <= found.age < 60
    assert found.age == pytest.approx(time.time() - found.manifest.created_at / 1000, abs=5)


def test_the_memory_of_each_key_is_measured(leader, store, toy) -> None:
    leader.publish(toy.snapshot(), "test")
    small = version_stats(store, 1)
    shard_keys = VersionShard(1, 0)
    assert set(small.memory) == {
        store.key("version", 1),
        store.key("chunk", 1, "*"),
        shard_keys.item_map,
        shard_keys.expiry_set,
        shard_keys.delta_stream,
        f"{shard_keys.leaf_prefix}:*",
    }
    assert small.memory[f"{shard_keys.leaf_prefix}:*"] > 8 * 16
    assert small.memory[shard_keys.expiry_set] == 0, "none of the items has an end"
    fields = sum(map(len, store.redis.hvals(store.key("version", 1))))
    assert small.memory[store.key("version", 1)] > fields
    assert small.bytes_per_item == sum(small.memory.values()) / 8
    for number in range(500):
        toy.put(f"another{number}", 1)
    leader.publish(toy.snapshot(), "test")
    assert version_stats(store, 2).memory[VersionShard(2, 0).item_map] > small.memory[shard_keys.item_map] + 500 * 10


def test_a_version_that_is_gone_is_named(store) -> None:
    with pytest.raises(VersionNotFoundError, match="version 7 is not in Redis"):
        version_stats(store, 7)
