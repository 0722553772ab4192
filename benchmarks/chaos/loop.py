"""The whole loop under test: log, Redis, trainer, two schedulers, two servers, each with a clock of its own."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.chaos.clocks import Clock
from benchmarks.chaos.cluster import PORTS, ClusterBackend
from benchmarks.chaos.processes import Backend, Role, Server, Target
from benchmarks.chaos.watch import RoleScraper, View
from hsnn.demo.settings import free_ports
from hsnn.embedded.kafka import EmbeddedKafka
from hsnn.embedded.redis import EmbeddedRedis
from hsnn.streaming.log.base import EventLog
from hsnn.streaming.log.open import open_log
from hsnn.streaming.redis.client import Redis, connect

LOGS = ("redis", "kafka")
TRAINER, SCHEDULERS, SERVERS = "trainer", ("scheduler_1", "scheduler_2"), ("server_1", "server_2")
ROLES = (TRAINER, *SCHEDULERS, *SERVERS)
REDIS, LOG = "redis", "log"
SETTINGS = {
    # small, so that a loop and its restarts fit on two cores
    "trainer.model.dim": "16",
    "trainer.model.hidden": "32",
    "trainer.model.nodes": "32",
    "trainer.model.buckets": "1024",
    "trainer.uniform_negatives": "64",
    "trainer.prequential_share": "0",
    "streaming.batch_size": "128",
    # short, so that a disruption meets many checkpoints and versions
    "trainer.snapshot_interval": "5s",
    "indexer.verify_interval": "10s",
    # without kernels, which take a server seconds of a core to load at each start
    "serving.engine": "false",
}
# bytes of the disk of the checkpoints: some of them, and room to fill
_DISK_BYTES = 256 << 20
USER = "hsnn"
"""User of the roles in Redis, and its password."""
_ACL = f"user default on nopass ~* &* +@all\nuser {USER} on >{USER} ~* &* +@all\n"


class Loop:
    """Starts everything in a folder; `tend` is the service manager.

    Parameters
    ----------
    library
        Of `compile_library`; None: clocks cannot be set.
    cluster
        Redis is a cluster of three masters and three replicas.

    Attributes
    ----------
    roles : name -> Role
    backends : name -> Backend
        `REDIS`, which holds the index, and `LOG`.
    disk : Path or None
        Where the file system of the checkpoints is mounted; None: it could not be, without the rights of root.
    """

    def __init__(self, folder: Path, log: str, library: Path | None, *, cluster: bool = False) -> None:
        self.folder, self.cluster, self._library, self._watch = folder, cluster, library, RoleScraper()
        log_port, *ports = free_ports(1 + len(ROLES) + PORTS)
        nodes = ports[len(ROLES) :]
        address = f"{USER}:{USER}@127.0.0.1:{nodes[0]}"
        self._addresses = {
            "redis.url": f"redis+cluster://{address}" if cluster else f"redis://{address}/0",
            "indexer.shards": "3" if cluster else "1",
            "streaming.log": f"{'kafka' if log == 'kafka' else 'redis'}://127.0.0.1:{log_port}",
        }
        self.disk = _mount(folder / "disk")
        acl = folder / "users.acl"
        acl.write_text(_ACL, "utf-8")
        clock = self.clock(REDIS)
        index: Server = ClusterBackend(nodes, folder, acl, clock)
        if not cluster:
            server = EmbeddedRedis(
                nodes[0], folder / REDIS, options={"aclfile": str(acl)}, environment=clock.environment
            )
            index = Backend(server, clock)
        self.backends: dict[str, Server] = {REDIS: index, LOG: self._log(log, log_port)}
        self.roles = {name: self.role(name, _command(name), port) for name, port in zip(ROLES, ports, strict=False)}
        self.guests: list[Role] = []

    @property
    def targets(self) -> Mapping[str, Target]:
        """All processes that can be struck, by name."""
        return {**self.roles, **self.backends}

    @property
    def clocks_can_be_set(self) -> bool:
        """Whether there is a library for it."""
        return self._library is not None

    @property
    def log_url(self) -> str:
        """Address of the log."""
        return self._addresses["streaming.log"]

    @property
    def checkpoints(self) -> Path:
        """Folder of the trainer's checkpoints."""
        return (self.disk or self.folder) / "checkpoints"

    def start(self) -> None:
        """Start the servers, then the roles."""
        for backend in self.backends.values():
            backend.start()
        for role in self.roles.values():
            role.start()

    def admin(self) -> Redis:
        """Connect to Redis as an operator, whose rights nobody takes."""
        return connect(self.backends[REDIS].url)

    def open_log(self) -> EventLog:
        """Open the log, as a producer or operator does."""
        return open_log(self.log_url)

    def role(self, name: str, command: str, port: int, settings: Mapping[str, str] | None = None) -> Role:
        """Return a process of the loop, not started: as all others, but for `settings`."""
        listens = {"train": "monitoring.trainer_port", "schedule": "monitoring.scheduler_port", "serve": "serving.port"}
        mine = {listens[command]: str(port), "trainer.checkpoint_dir": str(self.checkpoints), **(settings or {})}
        return Role(name, [command, *self._set(mine)], port=port, folder=self.folder, clock=self.clock(name))

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a command of ``hsnn`` on the loop's data, to its end."""
        settings = self._set({"trainer.checkpoint_dir": str(self.checkpoints)})
        command = [sys.executable, "-m", "hsnn", *arguments, *settings]
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)

    def clock(self, name: str) -> Clock:
        """Return a clock that is right."""
        return Clock(self.folder / f"{name}.clock", self._library)

    def view(self) -> View:
        """Let the service manager look after the roles; return what all of them show."""
        for role in self.roles.values():
            role.tend()
        return self._watch.view([*self.roles.values(), *self.guests])

    def end(self) -> None:
        """End everything."""
        for role in (*self.guests, *reversed(self.roles.values())):
            role.send_signal(signal.SIGKILL)
        for backend in self.backends.values():
            backend.stop()
        self._watch.close()
        if self.disk is not None:
            time.sleep(0.2)  # killed processes must have closed their files
            subprocess.run(["umount", "-l", str(self.disk)], check=False)

    def _log(self, kind: str, port: int) -> Backend:
        clock = self.clock(LOG)
        if kind == "kafka":
            return Backend(EmbeddedKafka(self.folder / LOG, port, clock.environment), clock)
        kept = {"appendfsync": "always"}  # what is acknowledged must outlive a kill
        return Backend(EmbeddedRedis(port, self.folder / LOG, options=kept, environment=clock.environment), clock)

    def _set(self, mine: Mapping[str, str]) -> list[str]:
        every = {**SETTINGS, **self._addresses, **mine}
        return [part for name, value in every.items() for part in ("--set", f"{name}={value}")]


def _command(role: str) -> str:
    return {"trainer": "train", "scheduler": "schedule", "server": "serve"}[role.partition("_")[0]]


def _mount(folder: Path) -> Path | None:
    """Mount a small file system of its own, which can be full while others are not."""
    folder.mkdir()
    command: Sequence[str] = ["mount", "-t", "tmpfs", "-o", f"size={_DISK_BYTES}", "hsnn-chaos", str(folder)]
    try:
        done = subprocess.run(command, capture_output=True, check=False)
    except FileNotFoundError:
        return None
    return folder if done.returncode == 0 else None
