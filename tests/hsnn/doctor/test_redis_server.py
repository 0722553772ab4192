from __future__ import annotations

from collections.abc import Iterator

import pytest

from hsnn.config.schema import Config
from hsnn.doctor.redis_server import check_clock, check_memory, check_persistence, check_redis_server
from hsnn.indexer.store.lease import Lease
from hsnn.streaming.redis.client import Redis


@pytest.mark.parametrize("policy", ["allkeys-lru", "allkeys-lfu", "allkeys-random", "volatile-lru", "volatile-ttl"])
@pytest.mark.parametrize(("limit", "state"), [(60 << 20, "fail"), (0, "warn")])
def test_a_redis_that_may_evict_keys(policy, limit, state):
    found = check_memory([{"maxmemory_policy": policy, "maxmemory": limit, "used_memory": 1}])
    assert found.state == state
    assert policy in found.text
    assert "noeviction" in found.text


def test_one_evicting_primary_of_three_is_enough():
    good = {"maxmemory_policy": "noeviction", "maxmemory": 100, "used_memory": 1}
    assert check_memory([good, good | {"maxmemory_policy": "allkeys-lru"}, good]).state == "fail"
    assert check_memory([good, good]).state == "ok"
    assert check_memory([good, good | {"used_memory": 71}]).state == "warn"


@pytest.mark.parametrize(
    ("aof", "saves", "holds_log", "state", "says"),
    [
        (1, "", True, "ok", "append-only"),
        (0, "", True, "fail", "all events are lost"),
        (0, "3600 1", True, "warn", "since then are lost"),
        (0, "", False, "warn", "published again"),
        (0, None, True, "warn", "cannot be read"),
    ],
)
def test_a_redis_that_forgets_over_a_restart(aof, saves, holds_log, state, says):
    found = check_persistence([{"aof_enabled": aof}], saves, holds_log=holds_log)
    assert found.state == state
    assert says in found.text


@pytest.mark.parametrize(
    ("offset", "state", "says"),
    [
        (0.4, "ok", "within"),
        (-0.9, "ok", "within"),
        (3.0, "warn", "behind"),
        (-3.0, "warn", "ahead"),
        (3600, "fail", "NTP"),
    ],
)
def test_a_clock_that_differs(offset, state, says):
    found = check_clock(offset)
    assert found.state == state
    assert says in found.text


@pytest.fixture
def evicting(redis_client: Redis) -> Iterator[None]:
    redis_client.config_set("maxmemory", "60mb")
    redis_client.config_set("maxmemory-policy", "allkeys-lru")
    yield
    redis_client.config_set("maxmemory-policy", "noeviction")
    redis_client.config_set("maxmemory", "0")


def test_a_real_server_is_asked(redis_server: str, redis_client: Redis, evicting: None):
    lease = Lease(redis_client, ttl=5, owner="host-a/7")
    lease.acquire()
    found = {
        finding.name: finding
        for finding in check_redis_server(Config(redis={"url": redis_server}, streaming={"log": redis_server}))
    }
    lease.release()
    assert (found["redis"].state, found["redis memory"].state, found["clock"].state) == ("ok", "fail", "ok")
    assert "allkeys-lru" in found["redis memory"].text
    assert found["redis persistence"].state == "fail"  # a server of tests keeps nothing
    assert "host-a/7" in found["writers"].text
