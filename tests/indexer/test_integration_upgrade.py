"""A version of several shards that an earlier release wrote is led on after the upgrade, with nothing lost."""

from __future__ import annotations

import pytest

from hsnn.indexer.build.builder import Builder
from hsnn.indexer.build.leader import Leader
from hsnn.indexer.store.lease import Lease
from hsnn.indexer.store.writer import IndexStore
from hsnn.indexer.verify.verify import verify
from hsnn.streaming.errors import LayoutError
from hsnn.streaming.redis.client import Redis
from hsnn.streaming.redis.keys import key
from hsnn.streaming.redis.layout import check_layout, convert_layout

pytestmark = pytest.mark.every_server
SHARDS = 4


def lead(redis: Redis) -> Leader:
    lease = Lease(redis, 3600, shard_count=SHARDS)
    assert lease.acquire(force=True)
    store = IndexStore(redis, lease, chunk=3)
    leader = Leader(store, Builder(store))
    leader.resume()
    return leader


def write_as_layout_1(redis: Redis, toy) -> dict[str, int]:
    """Publish a version under the names of layout 1; return its items by node."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("hsnn.streaming.redis.keys.shard_tag", str)
        leader = lead(redis)
        leader.publish(toy.snapshot(), "test")
        nodes = leader.store.item_nodes(1)
        redis.delete(key("lease"))  # the old leader has ended
    redis.set(key("epoch"), 1)
    return nodes


def test_a_version_of_the_release_before_is_led_on(redis_client: Redis, toy, follow) -> None:
    nodes = write_as_layout_1(redis_client, toy)
    assert redis_client.exists("hsnn:{3}:part:1")
    with pytest.raises(LayoutError):
        check_layout(redis_client)
    assert convert_layout(redis_client) > 0
    check_layout(redis_client)
    leader = lead(redis_client)
    assert leader.store.item_nodes(1) == nodes
    assert verify(leader.store, 1).clean
    toy.put("new", 1)
    follow(leader)
    leader.publish(toy.snapshot(), "test")
    for version in (1, 2):
        assert leader.store.item_nodes(version) == toy.alive()
        assert verify(leader.store, version).clean
