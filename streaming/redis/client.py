"""One way to connect to a Redis-protocol server, or to a Redis Cluster."""

from __future__ import annotations

from typing import Any, cast

import redis
from redis.backoff import ExponentialBackoff
from redis.cluster import RedisCluster
from redis.connection import PythonRespSerializer
from redis.exceptions import RedisClusterException
from redis.retry import Retry

Redis = redis.Redis
CLUSTER = "+cluster"
_CUTOFF = 6000
"""Bytes from which on a value is sent by itself, as redis-py does."""

AWAY = (redis.ConnectionError, redis.TimeoutError, redis.exceptions.ReadOnlyError)
"""Errors of a server that is not there now, or not in charge; it may be again."""


def connect(url: str, **options: Any) -> Redis:
    """Connect to ``redis://`` or ``rediss://``; values stay bytes; lost connections are retried for some seconds.

    ``redis+cluster://`` and ``rediss+cluster://`` name one node of a Redis Cluster, it knows the others. The client
    has the same methods, as long as all keys of a call lie in one slot. `options` go to redis-py as they are.

    Raises
    ------
    redis.ConnectionError
        No node of the cluster answers. A single server is asked with the first command only.
    """
    scheme, mark, place = url.partition("://")
    common = {"decode_responses": False, "health_check_interval": 30, **options}
    if not scheme.endswith(CLUSTER):
        return redis.Redis.from_url(url, retry=_retry(), **common)
    try:
        return cast(Redis, RedisCluster.from_url(scheme.removesuffix(CLUSTER) + mark + place, **common))
    except RedisClusterException as error:
        raise redis.ConnectionError(str(error)) from error


def identity(client: Redis) -> str:
    """Name of the server's process, or of those of a cluster.

    It is another one after a restart or a failover, which may have lost the last writes.
    """
    if isinstance(client, RedisCluster):
        found: Any = client.info("server", target_nodes=RedisCluster.PRIMARIES)
        answers = found.values() if all(isinstance(value, dict) for value in found.values()) else [found]
        return " ".join(sorted(str(answer["run_id"]) for answer in answers))
    return str(client.info("server")["run_id"])


def bulk(client: Redis) -> Redis:
    """Make a second client of the same server, for values of many megabytes.

    It sends values as they are. The usual one joins them into one message first, with the interpreter's lock held:
    200 ms per 100 MB in which no other thread runs. Of a cluster's client it is the client itself.
    """
    if isinstance(client, RedisCluster):
        return client
    pool = client.connection_pool
    packer = PythonRespSerializer(_CUTOFF, pool.get_encoder().encode)
    options = {**pool.connection_kwargs, "command_packer": packer}
    return redis.Redis(connection_pool=redis.ConnectionPool(pool.connection_class, **options))


def _retry() -> Retry:
    return Retry(ExponentialBackoff(cap=1.0, base=0.05), retries=8)
