"""Connections to a Redis-protocol server or a Redis Cluster."""

from __future__ import annotations

from typing import Any, cast

import redis
from redis.cluster import RedisCluster
from redis.connection import PythonRespSerializer
from redis.exceptions import RedisClusterException
from redis.retry import Retry

from hsnn.streaming.retry import BACKOFF

Redis = redis.Redis

# Ending of the schemes that name a node of a cluster.
CLUSTER = "+cluster"

URL_SCHEMES = ("redis", "rediss", "redis+cluster", "rediss+cluster", "unix")
"""Schemes of the addresses that `connect` takes."""

# Bytes from which on a value is sent by itself: as in redis-py.
_CUTOFF = 6000

# With the pauses of `BACKOFF` some five seconds: a restart or a failover of a server passes unnoticed.
_RETRIES = 9

UNAVAILABLE_ERRORS = (redis.ConnectionError, redis.TimeoutError, redis.exceptions.ReadOnlyError)
"""Errors of a server that is down, or that is a replica after a failover; a later attempt may succeed."""


def connect(url: str, *, retry_timeouts: bool = True, **options: Any) -> Redis:
    """Connect to ``redis://`` or ``rediss://``; values stay bytes; lost connections are retried for some seconds.

    ``redis+cluster://`` and ``rediss+cluster://`` name one node of a Redis Cluster; the others are discovered. The
    client has the same methods, as long as all keys of a call lie in one slot.

    Parameters
    ----------
    url
        Address.
    retry_timeouts
        Whether a command is sent again whose answer did not come in time, so that a server that hangs is waited for
        by a minute; False for whoever has other things to do meanwhile.
    **options
        Passed to redis-py.

    Raises
    ------
    redis.ConnectionError
        No node of the cluster answers. A single server is contacted with the first command only.
    """
    scheme, separator, address = url.partition("://")
    common = {"decode_responses": False, "health_check_interval": 30, **options}
    if not scheme.endswith(CLUSTER):
        retry = Retry(BACKOFF, _RETRIES) if retry_timeouts else Retry(BACKOFF, _RETRIES, (redis.ConnectionError,))
        return redis.Redis.from_url(url, retry=retry, **common)
    if not retry_timeouts:
        common["retry"] = Retry(BACKOFF, 1)  # here it counts the attempts to find the nodes, too
    try:
        return cast(Redis, RedisCluster.from_url(scheme.removesuffix(CLUSTER) + separator + address, **common))
    except RedisClusterException as error:
        raise redis.ConnectionError(str(error)) from error


def identity(client: Redis) -> str:
    """Return the run id of the server process, or those of a cluster's primaries.

    It changes with a restart or a failover, which may have lost the last writes.
    """
    return " ".join(sorted(str(info["run_id"]) for info in server_infos(client, "server")))


def server_infos(client: Redis, section: str = "default") -> list[dict[str, Any]]:
    """Return what ``INFO`` says of the server, or of each primary of a cluster."""
    if not isinstance(client, RedisCluster):
        single: Any = client.info(section)
        return [single]
    info: Any = client.info(section, target_nodes=RedisCluster.PRIMARIES)
    return list(info.values()) if all(isinstance(value, dict) for value in info.values()) else [info]


def bulk(client: Redis) -> Redis:
    """Make a second client of the same server, for values of many megabytes; of a cluster's client, return itself.

    It sends each value without a copy. The usual client joins the values into one message first while it holds the
    interpreter's lock: 200 ms per 100 MB in which no other thread runs.
    """
    if isinstance(client, RedisCluster):
        return client
    pool = client.connection_pool
    packer = PythonRespSerializer(_CUTOFF, pool.get_encoder().encode)
    options = {**pool.connection_kwargs, "command_packer": packer}
    return redis.Redis(connection_pool=redis.ConnectionPool(pool.connection_class, **options))
