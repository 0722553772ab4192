"""Embedded Redis-protocol servers made one cluster, for tests and benchmarks."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any, cast

from hsnn.embedded.process import EmbeddedError
from hsnn.embedded.redis import EmbeddedRedis
from hsnn.streaming.redis.client import Redis, connect

# Hash slots of a Redis Cluster, as its protocol has them.
_SLOTS = 16_384

# Seconds between two looks at a cluster that is being formed.
_POLL_INTERVAL = 0.05


def node_options(bus_port: int) -> dict[str, str]:
    """Return the options of a server that can be a node; `bus_port` is its port for the other nodes."""
    return {"cluster-enabled": "yes", "cluster-port": str(bus_port)}


def form_cluster(
    masters: Sequence[EmbeddedRedis], replicas: Sequence[EmbeddedRedis] = (), timeout: float = 60.0
) -> None:
    """Share the slots among running `masters`, and give each of them one of the `replicas`, as far as these go.

    Parameters
    ----------
    masters, replicas
        Started with `node_options`, and empty.
    timeout
        Seconds for each of two steps: that all nodes know one another, and that the replicas follow.

    Raises
    ------
    EmbeddedError
        A step took longer.
    """
    with ExitStack() as stack:
        clients = [stack.enter_context(connect(server.url)) for server in (*masters, *replicas)]
        for number, client in enumerate(clients[: len(masters)]):
            first, end = _SLOTS * number // len(masters), _SLOTS * (number + 1) // len(masters)
            client.execute_command("CLUSTER ADDSLOTSRANGE", first, end - 1)
        for server, client in list(zip((*masters, *replicas), clients, strict=True))[1:]:
            bus_port = client.config_get("cluster-port")["cluster-port"]
            clients[0].execute_command("CLUSTER MEET", "127.0.0.1", server.port, bus_port)
        _wait(lambda: all(_sees_all(client, len(clients)) for client in clients), timeout, "the nodes did not meet")
        following = clients[len(masters) :]
        for master, replica in zip(clients, following, strict=False):
            replica.execute_command("CLUSTER REPLICATE", text_of(master.execute_command("CLUSTER MYID")))
        _wait(lambda: all(follows(client) for client in following), timeout, "the replicas did not follow")


def follows(replica: Redis) -> bool:
    """Return whether a node is a replica and has its master's data."""
    role = cast(Any, replica).execute_command("ROLE")  # redis-py leaves it untyped
    return text_of(role[0]) == "slave" and text_of(role[3]) == "connected"


def cluster_info(client: Redis) -> dict[str, str]:
    """Return what a node says of the cluster: `cluster_state`, `cluster_known_nodes` and more."""
    info = cast(Any, client).execute_command("CLUSTER INFO")
    return info if isinstance(info, dict) else dict(line.split(":", 1) for line in info.decode().split())


def text_of(reply: Any) -> str:
    """Return a reply of a server, bytes or text, as text."""
    return reply.decode() if isinstance(reply, bytes) else str(reply)


def _sees_all(client: Redis, nodes: int) -> bool:
    info = cluster_info(client)
    return info["cluster_state"] == "ok" and int(info["cluster_known_nodes"]) == nodes


def _wait(done: Callable[[], bool], timeout: float, otherwise: str) -> None:
    deadline = time.monotonic() + timeout
    while not done():
        if time.monotonic() > deadline:
            raise EmbeddedError(f"{otherwise} within {timeout:g} s")
        time.sleep(_POLL_INTERVAL)
