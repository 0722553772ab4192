"""The Redis-protocol servers that the suite of the index runs on."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from hypothesis import settings

from hsnn.embedded import EmbeddedRedis
from hsnn.embedded.cluster import form_cluster, node_options
from hsnn.embedded.process import free_port

KINDS = ("embedded", "redis", "cluster")
"""The wheel's Valkey; the server that REDIS_SERVER names; a cluster of three nodes of the former."""
_NODES = 3


@contextmanager
def running(kind: str) -> Iterator[str]:
    """Run a server of a kind; its address."""
    if kind == "cluster":
        with _cluster() as url:
            yield url
        return
    with EmbeddedRedis(binary=_other_server() if kind == "redis" else None) as server:
        yield server.url


def examples(kind: str, count: int) -> settings:
    """Let a property be tried with so many examples on the embedded server, and a quarter of them on another one.

    What the examples differ in is decided by Python code, which is the same everywhere; another server shows that it
    does the same with the commands and scripts of a few.
    """
    return settings(max_examples=count if kind == "embedded" else count // 4, deadline=None)


def _other_server() -> Path:
    """The server that REDIS_SERVER names; without it a skip, with REQUIRE_REDIS=1 a failure."""
    if name := os.environ.get("REDIS_SERVER"):
        return Path(name)
    message = "no Redis to test against; set REDIS_SERVER to the path of a redis-server, version 7 or newer"
    if os.environ.get("REQUIRE_REDIS") == "1":
        pytest.fail(message)
    pytest.skip(message)


@contextmanager
def _cluster() -> Iterator[str]:
    with ExitStack() as stack:
        nodes = [stack.enter_context(EmbeddedRedis(options=node_options(free_port()))) for _ in range(_NODES)]
        form_cluster(nodes)
        yield f"redis+cluster://127.0.0.1:{nodes[0].port}"
