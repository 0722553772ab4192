"""A Redis Cluster of three masters and three replicas: what is killed or stopped is one of its masters."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from redis.exceptions import RedisError

from benchmarks.chaos.clocks import Clock
from hsnn.embedded.process import EmbeddedError, accepts
from hsnn.embedded.redis import EmbeddedRedis
from hsnn.streaming.redis.client import Redis, connect

MASTERS, SLOTS = 3, 16_384
# ports: each node has one for clients and one for the other nodes
PORTS = 4 * MASTERS
# milliseconds of silence after which a master is replaced
_NODE_TIMEOUT = 2000
_MEET_SECONDS = 60.0


class ClusterBackend:
    """The nodes, and the one that was struck last.

    Parameters
    ----------
    ports
        `PORTS` of them, free.
    acl
        File with the users.
    """

    def __init__(self, ports: list[int], folder: Path, acl: Path, clock: Clock) -> None:
        self.clock = clock
        self._nodes = [
            _node(port, bus, folder / f"node_{port}", acl, clock.environment)
            for port, bus in zip(ports[::2], ports[1::2], strict=True)
        ]
        self._buses = dict(zip(ports[::2], ports[1::2], strict=True))
        self._ports = ports[::2]
        self._struck: EmbeddedRedis | None = None

    @property
    def url(self) -> str:
        """Address of a node that answers, without a user."""
        port = next((port for port in self._ports if accepts(port)), self._ports[0])
        return f"redis+cluster://127.0.0.1:{port}"

    def start(self) -> None:
        """Start the nodes and make them one cluster.

        Raises
        ------
        EmbeddedError
            They did not find each other.
        """
        for node in self._nodes:
            node.start()
        clients = [connect(f"redis://127.0.0.1:{port}/0") for port in self._ports]
        for number, client in enumerate(clients[:MASTERS]):
            first, end = SLOTS * number // MASTERS, SLOTS * (number + 1) // MASTERS
            client.execute_command("CLUSTER", "ADDSLOTSRANGE", first, end - 1)
        for port in self._ports[1:]:
            clients[0].execute_command("CLUSTER", "MEET", "127.0.0.1", port, self._buses[port])
        _wait(lambda: all(_nodes_known(client) == len(clients) for client in clients), "the nodes did not meet")
        for master, replica in zip(clients[:MASTERS], clients[MASTERS:], strict=True):
            replica.execute_command("CLUSTER", "REPLICATE", _text(master.execute_command("CLUSTER", "MYID")))
        _wait(self.is_whole, "the replicas did not follow")
        for client in clients:
            client.close()

    def is_whole(self) -> bool:
        """Return whether all slots are served, and each master has a replica."""
        try:
            return [self._role(node) for node in self._nodes].count("master") == MASTERS and self._is_linked()
        except RedisError:
            return False

    def kill(self) -> None:
        """End a master at once; it stays away until `revive`."""
        self._struck = self._a_master()
        self._struck.kill()

    def revive(self) -> None:
        """Start it again; it becomes a replica of the one that took its place."""
        if self._struck is not None:
            while accepts(self._struck.port):
                time.sleep(0.01)
            self._struck.start()

    def send_signal(self, number: signal.Signals) -> None:
        """Send a master a signal, or the one that was stopped before."""
        if number != signal.SIGCONT or self._struck is None:
            self._struck = self._a_master()
        self._struck.send_signal(number)

    def stop(self) -> None:
        """End all nodes."""
        for node in self._nodes:
            node.send_signal(signal.SIGCONT)
            node.stop()

    def _a_master(self) -> EmbeddedRedis:
        """Return the master that has been one for longest: the masters take turns."""
        masters = [node for node in self._nodes if self._role(node) == "master"]
        others = [node for node in masters if node is not self._struck]
        return (others or masters)[0]

    def _role(self, node: EmbeddedRedis) -> str:
        with suppress(RedisError), connect(f"redis://127.0.0.1:{node.port}/0") as client:
            return _text(client.execute_command("ROLE")[0])
        return "away"

    def _is_linked(self) -> bool:
        """Whether every replica has its master's data, and the nodes agree that all is well."""
        for node in self._nodes:
            with connect(f"redis://127.0.0.1:{node.port}/0") as client:
                role: Any = client.execute_command("ROLE")
                if _text(role[0]) == "slave" and _text(role[3]) != "connected":
                    return False
                if _state(client) != "ok":
                    return False
        return True


def _node(port: int, bus: int, folder: Path, acl: Path, environment: Mapping[str, str | None]) -> EmbeddedRedis:
    options = {
        "cluster-enabled": "yes",
        "cluster-port": str(bus),
        "cluster-node-timeout": str(_NODE_TIMEOUT),
        "aclfile": str(acl),
    }
    return EmbeddedRedis(port, folder, None, options, environment)


def _info(client: Redis) -> dict[str, str]:
    found: Any = client.execute_command("CLUSTER INFO")
    return found if isinstance(found, dict) else dict(line.split(":", 1) for line in found.decode().split())


def _state(client: Redis) -> str:
    return _info(client)["cluster_state"]


def _nodes_known(client: Redis) -> int:
    return int(_info(client)["cluster_known_nodes"])


def _wait(done: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + _MEET_SECONDS
    while not done():
        if time.monotonic() > deadline:
            raise EmbeddedError(f"{what} within {_MEET_SECONDS:g} s")
        time.sleep(0.1)


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
