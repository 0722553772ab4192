from __future__ import annotations

import pytest

from hsnn.streaming.errors import LayoutError
from hsnn.streaming.redis.client import Redis
from hsnn.streaming.redis.keys import LAYOUT, key
from hsnn.streaming.redis.layout import check_layout, convert_layout, read_layout

pytestmark = pytest.mark.every_server


def fill_layout_1(redis: Redis, shards: int) -> None:
    """Write what a release before layout 2 leaves: shards are named by their numbers, and no number of the layout."""
    redis.set(key("epoch"), 4)
    redis.set(key("shards"), shards)
    for shard in range(1, shards):
        redis.hset(f"hsnn:{{{shard}}}:items:7", mapping={"a": f"{shard}:0"})
        redis.xadd(f"hsnn:{{{shard}}}:deltas:7", {"d": b"\xff"}, id="5-1")
        redis.set(f"hsnn:{{{shard}}}:leaf:7:3", bytes(range(256)), px=60_000)


def test_an_empty_server_gets_the_number_of_this_release(redis_client):
    assert read_layout(redis_client) is None
    check_layout(redis_client)
    assert read_layout(redis_client) == LAYOUT
    check_layout(redis_client)


def test_one_shard_needs_no_conversion(redis_client):
    fill_layout_1(redis_client, 1)
    assert read_layout(redis_client) == 1
    check_layout(redis_client)
    assert read_layout(redis_client) == LAYOUT


def test_several_shards_are_converted_to_the_last_byte(redis_client):
    fill_layout_1(redis_client, 4)
    with pytest.raises(LayoutError, match="hsnn upgrade"):
        check_layout(redis_client)
    assert convert_layout(redis_client) == 9
    check_layout(redis_client)
    for shard in range(1, 4):
        assert redis_client.hgetall(key("items", 7, shard=shard)) == {b"a": b"%d:0" % shard}
        assert redis_client.xrange(key("deltas", 7, shard=shard)) == [(b"5-1", {b"d": b"\xff"})]
        assert redis_client.get(key("leaf", 7, 3, shard=shard)) == bytes(range(256))
        assert 0 < redis_client.pttl(key("leaf", 7, 3, shard=shard)) <= 60_000
        assert not redis_client.exists(f"hsnn:{{{shard}}}:items:7")
    assert convert_layout(redis_client) == 0


def test_a_conversion_that_was_interrupted_is_repeated(redis_client, monkeypatch):
    fill_layout_1(redis_client, 3)
    restores = iter([True, True, False])
    real = type(redis_client).restore

    def interrupted(self: Redis, *arguments: object, **options: object) -> object:
        if not next(restores):
            raise KeyboardInterrupt
        return real(self, *arguments, **options)

    with monkeypatch.context() as patched:
        patched.setattr(type(redis_client), "restore", interrupted)
        with pytest.raises(KeyboardInterrupt):
            convert_layout(redis_client)
    assert read_layout(redis_client) == 1
    assert convert_layout(redis_client) == 6
    assert redis_client.hget(key("items", 7, shard=2), "a") == b"2:0"


@pytest.mark.parametrize("lease", [("lease",), ("trainer", "lease")])
def test_nothing_is_converted_while_somebody_writes(redis_client, lease):
    fill_layout_1(redis_client, 3)
    redis_client.set(key(*lease), "somebody", px=5000)
    with pytest.raises(LayoutError, match="at work"):
        convert_layout(redis_client)
    assert redis_client.exists("hsnn:{1}:items:7")


def test_a_newer_layout_is_refused(redis_client):
    redis_client.set(key("layout"), LAYOUT + 1)
    with pytest.raises(LayoutError, match="newer release"):
        check_layout(redis_client)
