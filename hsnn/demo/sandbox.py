"""The stage: embedded services and roles of one demo, in a folder of their own that goes with it."""

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
from hsnn.demo.processes import Roles
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
"""Engagements that the log may hold unlearned: enough that the trainer never waits, few enough that all is fresh."""

_READY = 120.0
_TOPICS = ("engagements_topic", "items_topic", "users_topic", "control_topic")


class Stage:
    """Starts everything in an order in which nothing has to wait for what comes later, and ends it.

    Parameters
    ----------
    loaded
        The user's configuration.
    log
        Kind of the event log. For ``kafka`` the broker that ``KAFKA_BOOTSTRAP`` names is used, else an embedded one.
    expire_after_idle
        What the data set suggests, seconds.

    Attributes
    ----------
    folder
        Holds configuration, logs of the roles, checkpoints, the answer log and the producer's counts.
    config
        Shared by all roles; there once `start` has returned.
    """

    config: Config

    def __init__(self, loaded: Loaded, log: LogKind, expire_after_idle: float | None) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="hsnn-demo-"))
        self.roles = Roles(self.folder, {"PYTHONUNBUFFERED": "1"})
        self._loaded, self._kind, self._idle = loaded, log, expire_after_idle
        self._redis = EmbeddedRedis()
        self._kafka: EmbeddedKafka | None = None
        self._borrowed = os.environ.get("KAFKA_BOOTSTRAP") if log is LogKind.kafka else None

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

    def start(self, stop: Callable[[], bool] = lambda: False, tell: Callable[[str], None] = lambda _: None) -> None:
        """Start services, server, scheduler and trainer, and wait until all of them are ready for events.

        `stop` ends the wait once it says True; `tell` hears what is being done.

        Raises
        ------
        RoleError, EmbeddedError
            Something did not start; the text says why.
        """
        tell(f"starting Redis{' and Kafka' if self._kind is LogKind.kafka and not self._borrowed else ''}")
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
        tell("starting server, scheduler and trainer, each its own process")
        port_file = self.folder / "server.port"
        self.roles.start("server", ["serve", *self._options, "--port-file", str(port_file)])
        self.roles.start("scheduler", ["schedule", *self._options])
        self.roles.start("trainer", ["train", *self._options])
        self.roles.until(port_file.exists, "the server to listen", _READY, stop)
        for name, url in (("scheduler", self.scheduler), ("trainer", self.trainer)):
            self.roles.until(lambda url=url: ready(url), f"the {name} to be ready", _READY, stop)  # type: ignore[misc]

    def send(self, data: str, limit: int, ahead: int = AHEAD) -> None:
        """Start the producer: the first `limit` engagements of a data set, just ahead of the trainer."""
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
                "max",
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
        """End roles, then services; remove the folder unless it is to be looked at."""
        self.roles.end()
        if self._borrowed:
            _remove_topics(self._borrowed, self._topics())
        if self._kafka is not None:
            self._kafka.stop()
        self._redis.stop()
        if not keep_folder:
            shutil.rmtree(self.folder, ignore_errors=True)

    def kill(self) -> None:
        """End everything at once."""
        self.roles.kill()
        self._redis.kill()
        if self._kafka is not None:
            self._kafka.kill()
        time.sleep(0.1)  # the killed write no more, so that nothing comes back while the folder is removed
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
        if self._borrowed:
            return f"kafka://{self._borrowed}"
        self._kafka = EmbeddedKafka(self.folder / "kafka")
        return self._kafka.start().url

    def _topics(self) -> dict[str, str]:
        """Topics and a group of its own where the broker is somebody else's."""
        if not self._borrowed:
            return {}
        names = {f"streaming.{name}": f"{self.folder.name}.{name.removesuffix('_topic')}" for name in _TOPICS}
        return names | {"streaming.group": self.folder.name}


def ready(url: str) -> bool:
    """Whether a role says that it is ready."""
    try:
        return httpx.get(f"{url}/healthz/ready", timeout=1.0).status_code == httpx.codes.OK
    except httpx.HTTPError:
        return False


def _remove_topics(bootstrap: str, names: Mapping[str, str]) -> None:
    """Leave somebody else's broker as it was; a broker that does not let us is no reason to fail at the end."""
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
