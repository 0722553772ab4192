"""The sandbox of a demo: embedded servers and role processes, in a temporary folder."""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Mapping
from enum import StrEnum
from pathlib import Path

import httpx

from hsnn.config.loader import Loaded
from hsnn.config.schema import Config
from hsnn.demo.processes import RoleProcesses
from hsnn.demo.settings import compose, write
from hsnn.embedded.kafka import EmbeddedKafka
from hsnn.embedded.redis import EmbeddedRedis
from hsnn.streaming.dead_letters.writer import SUFFIX

_log = logging.getLogger(__name__)


class LogKind(StrEnum):
    """The event logs that the demo can run on."""

    redis = "redis"
    kafka = "kafka"


AHEAD = 2000
"""Engagements in the log ahead of the trainer: enough that it never waits, few enough to keep freshness low."""

# Seconds that a process may take to be ready: torch alone takes ten on a slow disk, and the first server of an
# installation compiles its kernels, for minutes where the machine is busy.
_READY_SECONDS = 300.0

# Keys of the configuration that name topics: each demo has its own.
_TOPICS = ("engagements_topic", "items_topic", "users_topic", "control_topic")


class Sandbox:
    """Start servers and processes in the order of their dependencies, and stop them.

    Parameters
    ----------
    loaded
        The user's configuration.
    log
        Kind of the event log. For ``kafka`` the broker that ``KAFKA_BOOTSTRAP`` names is used, else an embedded one.
    expire_after_idle
        Suggestion of the data set, seconds.

    Attributes
    ----------
    folder
        Has the configuration, the logs of the processes, checkpoints, the answer log and the producer's counts.
    config
        Shared by all processes; set by `start`.
    """

    config: Config

    def __init__(self, loaded: Loaded, log: LogKind, expire_after_idle: float | None) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="hsnn-demo-"))
        self.roles = RoleProcesses(self.folder, {"PYTHONUNBUFFERED": "1"})
        self._loaded, self._kind, self._idle = loaded, log, expire_after_idle
        self._redis = EmbeddedRedis()
        self._kafka: EmbeddedKafka | None = None
        self._external_broker = os.environ.get("KAFKA_BOOTSTRAP") if log is LogKind.kafka else None

    @property
    def redis_url(self) -> str:
        """Address of the embedded Redis-protocol server."""
        return self._redis.url

    @property
    def server(self) -> str:
        """Address of the server's HTTP."""
        return f"http://127.0.0.1:{self.config.serving.port}"

    @property
    def scheduler(self) -> str:
        """Address of the scheduler's metrics and health."""
        return f"http://127.0.0.1:{self.config.monitoring.scheduler_port}"

    @property
    def trainer(self) -> str:
        """Address of the trainer's metrics and health."""
        return f"http://127.0.0.1:{self.config.monitoring.trainer_port}"

    @property
    def produced(self) -> Path:
        """JSON file of the producer's counts."""
        return self.folder / "produced.json"

    @property
    def answers(self) -> Path:
        """The server's answer log."""
        return self.folder / "answers.jsonl"

    def start(self, stop: Callable[[], bool] = lambda: False, report: Callable[[str], None] = lambda _: None) -> None:
        """Start embedded servers, server, scheduler and trainer, and wait until all of them are ready.

        The wait ends early once `stop` returns True; `report` is called with a text per stage.

        Raises
        ------
        RoleProcessError, EmbeddedError
            Something did not start; the text says why.
        """
        report(f"starting Redis{' and Kafka' if self._kind is LogKind.kafka and not self._external_broker else ''}")
        self._redis.start()
        self.config = compose(
            self._loaded,
            folder=self.folder,
            redis=self._redis.url,
            log=self._log_url(),
            topics=self._topics(),
            expire_after_idle=self._idle,
        )
        write(self.config, self._file)
        report("starting server, scheduler and trainer, each its own process")
        port_file = self.folder / "server.port"
        self.roles.start("server", ["serve", *self._options, "--port-file", str(port_file)])
        self.roles.start("scheduler", ["schedule", *self._options])
        self.roles.start("trainer", ["train", *self._options])
        self.roles.wait_until(port_file.exists, "the server to listen", _READY_SECONDS, stop)
        for name, url in (("scheduler", self.scheduler), ("trainer", self.trainer)):
            self.roles.wait_until(lambda url=url: ready(url), f"the {name} to be ready", _READY_SECONDS, stop)  # type: ignore[misc]

    def send(self, data: str, limit: int, ahead: int = AHEAD, speed: str = "max") -> None:
        """Start the producer: the first `limit` engagements of a data set, just ahead of the trainer.

        `speed` limits it to a multiple of event time, as in ``hsnn produce``.
        """
        self.roles.start(
            "producer",
            [
                "produce",
                "--data",
                data,
                "--log",
                self.config.streaming.log,
                "--limit",
                str(limit),
                "--speed",
                speed,
                "--follow",
                self._redis.url,
                "--ahead",
                str(ahead),
                "--json",
                str(self.produced),
                *self._options,
            ],
            ends=True,
        )

    def end(self, keep_folder: bool = False) -> None:
        """Stop processes, then embedded servers; remove the folder unless it is to be kept."""
        self.roles.end()
        if self._external_broker:
            _remove_topics(self._external_broker, self._topics())
        if self._kafka is not None:
            self._kafka.stop()
        self._redis.stop()
        if not keep_folder:
            shutil.rmtree(self.folder, ignore_errors=True)

    def kill(self) -> None:
        """Kill everything at once."""
        self.roles.kill()
        self._redis.kill()
        if self._kafka is not None:
            self._kafka.kill()
        time.sleep(0.1)  # killed processes must have stopped writing before the folder is removed
        shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def _file(self) -> Path:
        return self.folder / "hsnn.toml"

    @property
    def _options(self) -> list[str]:
        return ["--config", str(self._file)]

    def _log_url(self) -> str:
        if self._kind is LogKind.redis:
            return self._redis.url
        if self._external_broker:
            return f"kafka://{self._external_broker}"
        self._kafka = EmbeddedKafka(self.folder / "kafka")
        return self._kafka.start().url

    def _topics(self) -> dict[str, str]:
        """Return topics and a group with names of their own for an external broker."""
        if not self._external_broker:
            return {}
        names = {f"streaming.{name}": f"{self.folder.name}.{name.removesuffix('_topic')}" for name in _TOPICS}
        return names | {"streaming.group": self.folder.name}


def ready(url: str) -> bool:
    """Return whether the readiness endpoint of a process says so."""
    try:
        return httpx.get(f"{url}/healthz/ready", timeout=1.0).status_code == httpx.codes.OK
    except httpx.HTTPError:
        return False


def _remove_topics(bootstrap: str, names: Mapping[str, str]) -> None:
    """Delete the demo's topics and group from an external broker; only log if it refuses."""
    from kafka import KafkaAdminClient
    from kafka.errors import KafkaError

    try:
        admin = KafkaAdminClient(bootstrap_servers=bootstrap.split(","))
        try:
            ours = set(names.values())
            held = {topic for topic in admin.list_topics() if topic in ours or topic.removesuffix(SUFFIX) in ours}
            admin.delete_topics(sorted(held))
            admin.delete_groups([names["streaming.group"]])
        finally:
            admin.close()
    except (KafkaError, OSError) as error:
        _log.warning("the topics %s.* stay on %s: %s", names["streaming.group"], bootstrap, error)
