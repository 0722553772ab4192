"""Redis, two schedulers and a server: processes that are killed, paused and started again."""

from __future__ import annotations

import signal
import sys
import time
from pathlib import Path

import httpx
from redis.exceptions import RedisError

from hsnn.demo.sandbox import ready
from hsnn.demo.settings import free_ports
from hsnn.embedded.process import ChildServer, accepts
from hsnn.embedded.redis import EmbeddedRedis
from hsnn.streaming.redis.client import Redis, connect
from hsnn.streaming.redis.keys import key

# short, so that a new leader takes over between two disruptions
LEASE_SECONDS = 1.0
ROLES = ("scheduler_1", "scheduler_2", "server")
# seconds until all processes must be ready
_READY_SECONDS = 120.0
_ENVIRONMENT: dict[str, str | None] = {"OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1", "HSNN_CONFIG": None}


class Processes:
    """Starts all of them; `kill` and `pause` name one.

    Parameters
    ----------
    folder
        For logs and for what Redis keeps.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        redis_port, *ports = free_ports(1 + len(ROLES))
        self._ports = dict(zip(ROLES, ports, strict=True))
        self._redis = EmbeddedRedis(redis_port, folder / "redis")
        self._roles: dict[str, ChildServer] = {}
        self.kills: dict[str, int] = dict.fromkeys(("redis", *ROLES), 0)
        self.pauses = 0

    @property
    def server(self) -> str:
        """Address of the server."""
        return f"http://127.0.0.1:{self._ports['server']}"

    def start(self) -> Redis:
        """Start Redis and the roles; return a client. Roles are ready once there is a version."""
        self._redis.start()
        for name in ROLES:
            self._launch(name)
        return connect(self._redis.url)

    def kill(self, name: str) -> None:
        """SIGKILL, and start again at once."""
        self.kills[name] += 1
        if name == "redis":
            self._redis.kill()
            while accepts(self._redis.port):  # the killed one still holds the port
                time.sleep(0.01)
            self._redis.start()
        else:
            self._roles[name].kill()
            self._launch(name)

    def pause(self, name: str) -> None:
        """SIGSTOP a scheduler past its lease, then resume it."""
        self.pauses += 1
        self._roles[name].send_signal(signal.SIGSTOP)
        time.sleep(2.5 * LEASE_SECONDS)
        self._roles[name].send_signal(signal.SIGCONT)

    def up(self) -> list[str]:
        """Roles that are ready, and Redis."""
        return ["redis", *(name for name in ROLES if ready(f"http://127.0.0.1:{self._ports[name]}"))]

    def leader(self, client: Redis) -> str | None:
        """Which scheduler holds the lease; None if none does or nobody can say."""
        try:
            lease = client.get(key("lease"))
        except RedisError:
            return None
        return next((name for name in ROLES[:2] if lease and self._is_owner(name, bytes(lease))), None)

    def wait(self) -> None:
        """Wait until all are ready.

        Raises
        ------
        TimeoutError
            One was not within two minutes.
        """
        deadline = time.monotonic() + _READY_SECONDS
        while len(self.up()) <= len(ROLES):
            if time.monotonic() > deadline:
                raise TimeoutError(f"only {', '.join(self.up())} are ready; the logs are in {self._folder}")
            time.sleep(0.1)

    def server_answers(self) -> bool:
        """Whether the server answers a query."""
        body = {"user": "u1", "k": 5}
        try:
            return len(httpx.post(f"{self.server}/v1/retrieve", json=body, timeout=5.0).json()["items"]) > 0
        except (httpx.HTTPError, KeyError, ValueError):
            return False

    def end(self) -> None:
        """End all."""
        for role in self._roles.values():
            role.kill()
        self._redis.stop()

    def _launch(self, name: str) -> None:
        url, port = f"redis.url={self._redis.url}", self._ports[name]
        options = ["--set", url, "--set", f"indexer.lease_ttl={LEASE_SECONDS:g}s"]
        if name == "server":
            command = ["serve", *options, "--set", f"serving.port={port}"]
        else:
            command = ["schedule", *options, "--set", f"monitoring.scheduler_port={port}"]
        log = self._folder / f"{name}.log"
        self._roles[name] = ChildServer([sys.executable, "-m", "hsnn", *command], log, _ENVIRONMENT)

    def _is_owner(self, name: str, lease: bytes) -> bool:
        return lease.rpartition(b"/")[2].decode() in self._pids(name)

    def _pids(self, name: str) -> set[str]:
        """Process ids of a role: that of its shell's children."""
        shell = self._roles[name].pid
        return set(Path(f"/proc/{shell}/task/{shell}/children").read_text("utf-8").split())
