"""One way to connect to a Redis-protocol server."""

from __future__ import annotations

from typing import Any

import redis
from redis.backoff import ExponentialBackoff
from redis.retry import Retry

Redis = redis.Redis

AWAY = (redis.ConnectionError, redis.TimeoutError, redis.exceptions.ReadOnlyError)
"""Errors of a server that is not there now, or not in charge; it may be again."""


def identity(redis: Redis) -> str:
    """Name of the server's process: another one after a restart or a failover, which may have lost the last writes."""
    return str(redis.info("server")["run_id"])


def connect(url: str, **options: Any) -> Redis:
    """Connect to ``redis://`` or ``rediss://``; values stay bytes; lost connections are retried for some seconds.

    `options` go to redis-py as they are.
    """
    return redis.Redis.from_url(
        url,
        decode_responses=False,
        retry=Retry(ExponentialBackoff(cap=1.0, base=0.05), retries=8),
        health_check_interval=30,
        **options,
    )
