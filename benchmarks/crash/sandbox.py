"""Servers and files of a crash test: a log full of real events, a Redis, a folder for checkpoints."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.crash.child import TrainerJob
from benchmarks.crash.log_filler import LogContents, fill
from hsnn.embedded.kafka import EmbeddedKafka
from hsnn.embedded.redis import EmbeddedRedis
from hsnn.evaluation.harness.dataset_config import config_for_dataset, join_config
from hsnn.streaming.datasets import Dataset
from hsnn.streaming.dead_letters.writer import SUFFIX
from hsnn.streaming.log.base import EventLog
from hsnn.streaming.log.open import open_log
from hsnn.streaming.redis.client import Redis, connect
from hsnn.trainer.config.index import IndexConfig
from hsnn.trainer.config.model import TrainerConfig

LOGS = ("redis", "kafka")
TRAINER: dict[str, Any] = {"model": {"cross": True}}
"""The default model with cross features: all state that a trainer can have on such data."""


@dataclass
class CrashSandbox:
    """A filled log, and the configuration of a trainer that reads it."""

    log: EventLog
    redis: Redis
    folder: Path
    contents: LogContents
    job: TrainerJob

    def job_of(self, name: str, interval: float, fault: str | None = None) -> TrainerJob:
        """Return the job of a run with checkpoints, group and dead letters of its own."""
        trainer = self.job.trainer.model_copy(
            update={"checkpoint_dir": self.folder / name, "snapshot_interval": interval}
        )
        streaming = self.job.streaming.model_copy(update={"group": name})
        return TrainerJob(trainer, streaming, self.job.redis, fault)

    def dead_letters(self) -> int:
        """Records in the dead letters of the engagements."""
        topic = self.job.streaming.engagements_topic + SUFFIX
        return sum(self.log.end_positions([(topic, number) for number in self.log.partitions(topic)]).values())


@contextmanager
def sandbox(kind: str, data: Dataset, batch: int, on_progress: Callable[[int], object]) -> Iterator[CrashSandbox]:
    """Start the servers, fill the log of this kind (``redis`` or ``kafka``), and remove everything afterwards.

    `batch` is the size of a trainer's batches; `on_progress` is called with the number of events in the log.
    """
    with ExitStack() as stack:
        server = stack.enter_context(EmbeddedRedis())
        url = stack.enter_context(EmbeddedKafka()).url if kind == "kafka" else server.url
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="hsnn-crash-")))
        log, redis = open_log(url), connect(server.url)
        stack.callback(log.close)
        stack.callback(redis.close)
        job = _job(data, batch, url, server.url)
        yield CrashSandbox(log, redis, folder=folder, contents=fill(log, data, job.streaming, on_progress), job=job)


def batch_size(events: int, kills: int) -> int:
    """Interactions per step: a hundred steps at least, and some per kill, so that the log does not end before them."""
    return max(16, min(256, events // 128, events // (4 * max(kills, 1))))


def _job(data: Dataset, batch: int, log: str, redis: str) -> TrainerJob:
    seeded = IndexConfig(seed_after=min(IndexConfig().seed_after, len(data) // 10))
    trainer = config_for_dataset(TrainerConfig.model_validate({**TRAINER, "index": seeded}), data)
    changes = {"log": log, "batch_size": batch, "max_wait": 0.05}
    return TrainerJob(trainer, join_config(trainer).model_copy(update=changes), redis)
