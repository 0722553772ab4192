"""Embedded Redis, trainer, scheduler and server on one machine, with everything they keep in one folder."""

from __future__ import annotations

import fcntl
import shutil
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from hsnn.config.loader import Loaded
from hsnn.config.schema import Config
from hsnn.demo.processes import RoleProcesses
from hsnn.demo.sandbox import ready
from hsnn.demo.settings import free_ports, override, write
from hsnn.embedded.process import accepts
from hsnn.embedded.redis import EmbeddedRedis
from hsnn.monitoring.errors import HsnnError
from hsnn.streaming.datasets import load
from hsnn.streaming.log.base import StatesDurability
from hsnn.streaming.log.open import open_log
from hsnn.up.data_set import DataRecord, LoadedData
from hsnn.up.restarts import Restarts

ROLES = ("server", "scheduler", "trainer")
"""Processes beside Redis, in the order of their start."""

# Suggested where the user set nothing: the first version of a small catalogue soon, and what a restart reads again few.
_SUITABLE: dict[str, Any] = {"trainer.snapshot_interval": 10.0}

# Seconds that a role may take to be ready: PyTorch alone takes ten on a slow disk, the first server of an installation
# compiles its kernels, and the machine may be busy.
_READY_SECONDS = 300.0

# Seconds that the trainer's last checkpoint may take.
_END_SECONDS = 60.0

# Seconds that the Redis of an `hsnn up` that was killed may take to end.
_LEFTOVER_SECONDS = 15.0

# Attempts to load are told apart from others by their own log.
_LOADER = "loader"


class FolderInUseError(HsnnError):
    """Another process runs on the folder."""


class LocalStack:
    """Start everything in the order of its dependencies, start again what ends by itself, and stop it.

    Parameters
    ----------
    loaded
        The user's configuration; addresses of Redis and log, and the folder of checkpoints, are the stack's own.
    folder
        Kept between runs: the append-only file of Redis, checkpoints, the configuration file of the roles, logs.
    report
        Called with a sentence when something happens.

    Attributes
    ----------
    config
        Shared by all processes; set by `start`.
    durability
        What an accepted event survives; set by `start`.
    """

    config: Config

    def __init__(self, loaded: Loaded, folder: Path, report: Callable[[str], None] = lambda _: None) -> None:
        self.folder = folder.resolve()
        self.folder.mkdir(parents=True, exist_ok=True)
        self._loaded, self._report = loaded, report
        self._record = DataRecord(self.folder)
        self._redis = EmbeddedRedis(folder=self.folder / "redis")
        (self.folder / "logs").mkdir(exist_ok=True)
        self.roles = RoleProcesses(self.folder / "logs", {"PYTHONUNBUFFERED": "1"})
        self.restarts = Restarts(self.roles, self._start_role, report)
        self.redis_restarts = 0
        self.durability = ""
        self._lock: IO[str] | None = None

    @property
    def file(self) -> Path:
        """Configuration file of the roles, for other commands on the same data."""
        return self.folder / "hsnn.toml"

    @property
    def redis_url(self) -> str:
        """Address of Redis: index and log."""
        return self._redis.url

    @property
    def server(self) -> str:
        """Address of the HTTP API."""
        serving = self.config.serving
        host = "127.0.0.1" if serving.host in ("0.0.0.0", "::") else serving.host  # noqa: S104 - it is compared
        scheme = "http" if serving.tls_cert is None else "https"
        return f"{scheme}://{f'[{host}]' if ':' in host else host}:{serving.port}"

    @property
    def health(self) -> dict[str, str]:
        """Addresses of metrics and health by role."""
        monitoring = self.config.monitoring
        host = f"http://{monitoring.host}"
        return {
            "server": self.server,
            "scheduler": f"{host}:{monitoring.scheduler_port}",
            "trainer": f"{host}:{monitoring.trainer_port}",
        }

    def start(self, data: str | None = None, stop: Callable[[], bool] = lambda: False) -> None:
        """Start everything; with `data`, send that data set first, unless that was done.

        Returns when all roles are up, or early once `stop` returns True.

        Raises
        ------
        FolderInUseError, OtherDataError, RoleProcessError, EmbeddedError, DataError
            Something did not start; the text says why.
        """
        self._lock_folder()
        self._start_redis()
        self._compose(None if data is None else self._load(data, stop))
        if stop():
            return
        port_file = self.folder / "server.port"
        port_file.unlink(missing_ok=True)
        self._report("starting server, scheduler and trainer")
        for role in ROLES:
            self._start_role(role)
        self.roles.wait_until(port_file.exists, "the server to listen", _READY_SECONDS, stop)
        for role in ("scheduler", "trainer"):
            url = self.health[role]
            self.roles.wait_until(lambda url=url: ready(url), f"the {role} to be ready", _READY_SECONDS, stop)  # type: ignore[misc]

    def check(self) -> None:
        """Start again what has ended by itself."""
        if not self._redis.running:
            self._report("redis ended, and is started again with what it had")
            self.redis_restarts += 1
            self._start_redis()
        self.restarts.check()

    def end(self) -> None:
        """Stop the roles, then Redis; the trainer writes a last checkpoint. Safe to call twice."""
        self.roles.end(_END_SECONDS)
        self._redis.stop()
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def kill(self) -> None:
        """Kill everything at once; what was accepted stays in the folder."""
        self.roles.kill()
        self._redis.kill()

    def _lock_folder(self) -> None:
        self._lock = (self.folder / "lock").open("w")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise FolderInUseError(
                f"another `hsnn up` runs on {self.folder}; stop it, or name another folder with --folder"
            ) from None

    def _start_redis(self) -> None:
        """Start Redis on the port that it had, so that addresses given to others stay right."""
        self._redis.stop()
        port_file = self.folder / "redis.port"
        port = int(port_file.read_text()) if port_file.exists() else None
        self._report("starting Redis")
        if port is not None:
            # Of an `hsnn up` that was killed the server may not have ended yet, and two must not write one file.
            deadline = time.monotonic() + _LEFTOVER_SECONDS
            while accepts(port) and time.monotonic() < deadline:
                time.sleep(0.1)
        self._redis = EmbeddedRedis(port, self.folder / "redis").start()
        port_file.write_text(f"{self._redis.port}\n")
        log = open_log(self._redis.url)
        self.durability = log.durability() if isinstance(log, StatesDurability) else ""
        log.close()

    def _compose(self, data: LoadedData | None) -> None:
        """Compose and write the configuration of the roles."""
        data = data or self._record.read()
        config = self._loaded.config
        ports = {
            "serving.port": config.serving.port,
            "monitoring.trainer_port": config.monitoring.trainer_port,
            "monitoring.scheduler_port": config.monitoring.scheduler_port,
        }
        free = free_ports(len(ports))  # where any will do, it is chosen here: the roles must know one another's
        fixed: dict[str, Any] = {
            "redis.url": self._redis.url,
            "streaming.log": self._redis.url,
            "trainer.checkpoint_dir": self.folder / "checkpoints",
        }
        fixed |= {name: port or free.pop() for name, port in ports.items()}
        suggested = {**_SUITABLE, "trainer.expire_after_idle": data and data.expire_after_idle}
        self.config = override(self._loaded, suggested, fixed)
        if "trainer.server" not in self._loaded.origins:
            self.config = override(Loaded(self.config, {}), {}, {"trainer.server": self.server})
        write(self.config, self.file)

    def _load(self, name: str, stop: Callable[[], bool]) -> LoadedData | None:
        """Send a data set, unless that was done; return what is loaded."""
        if not self._record.must_load(name, holds_events=self._holds_events()):
            return self._record.read()
        self._report(f"reading {name.partition(':')[0]}")
        dataset = load(name)
        loading = LoadedData(name, dataset.expire_after_idle)
        if self._record.read() is not None:  # an attempt was interrupted: nothing else was ever sent
            self._wipe()
        self._record.write(loading)
        self._compose(loading)
        self._report(f"sending {len(dataset):,} events of {dataset.name}, once")
        self.roles.start(_LOADER, ["produce", "--data", name, "--config", str(self.file)], ends=True)
        while _LOADER in self.roles.names:
            self.roles.check()
            if stop():
                return None
            time.sleep(0.05)
        finished = LoadedData(name, dataset.expire_after_idle, finished=True)
        self._record.write(finished)
        return finished

    def _holds_events(self) -> bool:
        log = open_log(self._redis.url)
        try:
            streaming = self._loaded.config.streaming
            topics = (streaming.engagements_topic, streaming.items_topic, streaming.users_topic)
            parts = [(topic, partition) for topic in topics for partition in log.partitions(topic)]
            return any(log.end_positions(parts).values())
        finally:
            log.close()

    def _wipe(self) -> None:
        self._redis.stop()
        shutil.rmtree(self.folder / "redis")
        with suppress(FileNotFoundError):
            shutil.rmtree(self.folder / "checkpoints")
        self._start_redis()

    def _start_role(self, role: str) -> None:
        options = ["--config", str(self.file)]
        commands = {
            "server": ["serve", *options, "--port-file", str(self.folder / "server.port")],
            "scheduler": ["schedule", *options],
            # what the lease in Redis says of another trainer is out of date: the folder is locked
            "trainer": ["train", *options, "--take-over"],
        }
        self.roles.start(role, commands[role])
