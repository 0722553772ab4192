from __future__ import annotations

from collections import Counter

import pytest
from redis.crc import key_slot

from hsnn.streaming.redis import keys
from hsnn.streaming.redis.keys import DEFAULT_PREFIX, key, shard_tag, use_prefix


@pytest.mark.parametrize("nodes", [3, 4, 5, 6, 8, 12])
def test_shards_are_spread_over_the_nodes_of_a_cluster(nodes):
    count = Counter(key_slot(shard_tag(shard).encode()) * nodes // 16_384 for shard in range(3 * nodes))
    assert len(count) == nodes
    assert max(count.values()) <= 4
    assert len({shard_tag(shard) for shard in range(3 * nodes)}) == 3 * nodes


def test_a_shard_keeps_its_keys_in_one_slot_whatever_the_prefix():
    use_prefix("shop-b")
    try:
        names = [key("items", 7, shard=5), key("leaf", 7, 3, shard=5)]
        assert names[0] == f"shop-b:{{{shard_tag(5)}}}:items:7"
        assert len({key_slot(name.encode()) for name in names}) == 1
    finally:
        use_prefix(DEFAULT_PREFIX)
    assert keys.key_prefix() == "hsnn"
    assert key("current") == "hsnn:{0}:current"


def test_a_key_of_another_catalogue_is_in_the_slot_of_the_same_shard():
    other = key("items", 7, shard=5, prefix="challenger")
    assert other == key("items", 7, shard=5).replace("hsnn", "challenger")
    assert key_slot(other.encode()) == key_slot(key("items", 7, shard=5).encode())
