"""A server that has vector sets: Redis 8 or newer, whose binary REDIS_SERVER names."""

from __future__ import annotations

import os
from pathlib import Path

import redis

from hsnn.embedded.redis import EmbeddedRedis
from hsnn.streaming.redis.client import connect


class NoVectorSetsError(RuntimeError):
    """There is no such server here; the text says why."""


def vector_server() -> EmbeddedRedis:
    """Start a server that has vector sets.

    Raises
    ------
    NoVectorSetsError
        REDIS_SERVER is not set, or names a server without the command VADD.
    """
    binary = os.environ.get("REDIS_SERVER")
    if not binary:
        raise NoVectorSetsError("REDIS_SERVER names no server; point it at the binary of a Redis 8")
    server = EmbeddedRedis(binary=Path(binary)).start()
    client = connect(server.url)
    try:
        client.execute_command("VCARD", "items")
    except redis.ResponseError as error:
        version = client.info("server")["redis_version"]
        server.stop()
        raise NoVectorSetsError(f"{binary} (version {version}) has no vector sets: {error}") from error
    return server
