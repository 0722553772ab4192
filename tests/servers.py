"""The Redis-protocol servers that the suite of the index runs on."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from hypothesis import settings

from hsnn.embedded import EmbeddedRedis
from hsnn.embedded.process import free_port
from hsnn.streaming.redis.client import Redis, connect
from tests.waiting import DEADLINE

KINDS = ("embedded", "redis", "cluster")
"""The wheel's Valkey; the server that REDIS_SERVER names; a cluster of three nodes of the former."""
_SLOTS, _NODES = 16_384, 3


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
        ports = [(stack.enter_context(_node(bus)).port, bus) for bus in (free_port() for _ in range(_NODES))]
        clients = [connect(f"redis://127.0.0.1:{port}/0") for port, _ in ports]
        for number, client in enumerate(clients):
            first, end = _SLOTS * number // _NODES, _SLOTS * (number + 1) // _NODES
            client.execute_command("CLUSTER", "ADDSLOTSRANGE", first, end - 1)
        for port, bus in ports[1:]:
            clients[0].execute_command("CLUSTER", "MEET", "127.0.0.1", port, bus)
        _await_cluster(clients)
        for client in clients:
            client.close()
        yield f"redis+cluster://127.0.0.1:{ports[0][0]}"


def _node(bus: int) -> EmbeddedRedis:
    return EmbeddedRedis(options={"cluster-enabled": "yes", "cluster-port": str(bus)})


def _await_cluster(clients: list[Redis]) -> None:
    """All nodes know all nodes and all slots."""
    deadline = time.monotonic() + DEADLINE
    while not all(_whole(client) for client in clients):
        assert time.monotonic() < deadline, "the nodes of the cluster did not find each other"
        time.sleep(0.05)


def _whole(client: Redis) -> bool:
    found = client.execute_command("CLUSTER INFO")
    state = found if isinstance(found, dict) else dict(line.split(":", 1) for line in found.decode().split())
    return state["cluster_state"] == "ok" and int(state["cluster_known_nodes"]) == _NODES
