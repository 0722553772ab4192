"""A Redis Cluster of three masters and three replicas: what is killed or stopped is one of its masters."""

from __future__ import annotations

import signal
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from redis.exceptions import RedisError

from benchmarks.chaos.clocks import Clock
from hsnn.embedded.cluster import cluster_info, follows, form_cluster, node_options, text_of
from hsnn.embedded.process import accepts
from hsnn.embedded.redis import EmbeddedRedis
from hsnn.streaming.redis.client import connect

# masters: the fewest that can replace one of them, by a majority of the others
MASTERS = 3
# ports: each node has one for clients and one for the other nodes
PORTS = 4 * MASTERS
# milliseconds of silence after which a master is replaced
_NODE_TIMEOUT = 2000


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
            _node(port, bus, folder=folder / f"node_{port}", acl=acl, environment=clock.environment)
            for port, bus in zip(ports[::2], ports[1::2], strict=True)
        ]
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
        form_cluster(self._nodes[:MASTERS], self._nodes[MASTERS:])

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
            return text_of(client.execute_command("ROLE")[0])
        return "away"

    def _is_linked(self) -> bool:
        """Whether every replica has its master's data, and the nodes agree that all is well."""
        for node in self._nodes:
            with connect(f"redis://127.0.0.1:{node.port}/0") as client:
                is_replica = text_of(client.execute_command("ROLE")[0]) == "slave"
                if (is_replica and not follows(client)) or cluster_info(client)["cluster_state"] != "ok":
                    return False
        return True


def _node(port: int, bus: int, folder: Path, acl: Path, environment: Mapping[str, str | None]) -> EmbeddedRedis:
    options = node_options(bus) | {"cluster-node-timeout": str(_NODE_TIMEOUT), "aclfile": str(acl)}
    return EmbeddedRedis(port, folder, options=options, environment=environment)
