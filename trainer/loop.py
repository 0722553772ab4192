"""The online loop: poll, prepare, ask, learn, answer for it; and the process around it."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

import torch

from monitoring.alarms import Alarm
from monitoring.config import MonitoringConfig
from monitoring.health import Health
from monitoring.http import start_http
from monitoring.phases import reached
from monitoring.signals import stop_on_signals
from streaming.columns import Batch, Position
from streaming.config import StreamingConfig
from streaming.consumer import Consumer
from streaming.log import EventLog
from streaming.open_log import open_log
from streaming.patience import Patience
from streaming.redis_client import Redis, connect
from trainer.checkpoint import Checkpoint, CheckpointStore
from trainer.config import TrainerConfig
from trainer.drift import DriftWatch
from trainer.errors import CheckpointError
from trainer.learner import Learner
from trainer.metrics import LAG_RECORDS, LAG_SECONDS, STEP_SECONDS
from trainer.outbox import Outbox
from trainer.prequential import LivePrequential
from trainer.progress import Progress
from trainer.publisher import Publisher

_log = logging.getLogger(__name__)
_POLL_SECONDS = 0.2


class Loop:
    """One trainer over the partitions it owns.

    Parameters
    ----------
    log, redis
        Where events come from, and where states and snapshots go.
    digest
        Of the whole configuration, written into manifests.
    patience
        With which Redis is waited for when it is away; that for the log is the log's own.
    """

    def __init__(
        self,
        config: TrainerConfig,
        streaming: StreamingConfig,
        monitoring: MonitoringConfig,
        log: EventLog,
        redis: Redis,
        digest: str,
        health: Health | None = None,
        patience: Patience | None = None,
    ) -> None:
        self._config = config
        self._health = health or Health("trainer")
        store = CheckpointStore(config.checkpoint_dir, config.checkpoints_kept)
        self._patience = patience or Patience(streaming.patience, self._health.waits)
        self._outbox = Outbox(redis, self._patience)
        self._publisher = Publisher(store, self._outbox, digest)
        self._prequential = LivePrequential(config)
        self._drift = DriftWatch(monitoring)
        self.progress = Progress()
        checkpoint = store.newest()
        self.learner = Learner(config) if checkpoint is None else self._resumed(checkpoint)
        self.learner.network.descent.guard.limit = monitoring.gradient_limit
        self.consumer = Consumer(log, streaming, state=checkpoint and checkpoint.values["consumer"], ahead=True)
        self._flushed = self._published = time.monotonic()
        self._nodes_published = self._new_epoch = False
        self._turns = self.learner.turns
        self._positions: dict[Position, int] = {}
        self._unsaved = False
        self._generation = self.learner.steering.generation

    def run(self, stop: Callable[[], bool]) -> None:
        """Learn until `stop` says so, then write a last checkpoint."""
        self._health.ready("trainer")
        self._patience.begin(stop)
        if self.learner.network.seeded:
            self._publish([])  # rows of this epoch: the mirrors reload from here
        while not stop():
            batch = self.consumer.next_batch(_POLL_SECONDS)
            self._health.beat("poll")
            alarms = [] if batch is None else self._learn(batch)
            if batch is None or batch.dry or time.monotonic() - self._flushed >= self._config.flush_interval:
                self._flush()
            if self._outbox.restarted:
                self._begin_anew()
            self._publisher.settle()
            if alarms or self._new_epoch or self._due() or self._generation != self.learner.steering.generation:
                self._publish(alarms)
        if self._unsaved:
            self._publish([])
        self._publisher.close()
        self._prequential.close()
        self.consumer.close()
        self._flush()

    def _begin_anew(self) -> None:
        """Redis came back, perhaps without what it was told last: tell it everything, under a new epoch."""
        self._publisher.wait()  # what it still hands out is of the epoch that ends
        self._outbox.renew()
        _log.warning("Redis was restarted; everything is published again, as epoch %d", self._outbox.epoch)
        if self.learner.network.seeded:
            self._publish([])

    def _learn(self, batch: Batch) -> list[Alarm]:
        learner = self.learner
        prepared = learner.prepare(batch)
        if learner.turns != self._turns:  # rows mean other items from here on
            self._turns, self._new_epoch = learner.turns, True
            self._outbox.begin_epoch()
        asked = self._prequential.ask(prepared, learner)
        reached("step")
        with STEP_SECONDS.time():
            report = learner.train(prepared)
        reached("step")
        self._positions, self._unsaved = batch.positions, True
        self.progress.count(batch, report)
        if report.events or not report.unsafe:
            self._health.beat("learning")
        alarms = self._drift.update(prepared, report)
        self._prequential.settle(asked)
        self._outbox.feed(prepared.feed)  # not before the answers: a new item may be one that was asked for
        return alarms

    def _flush(self) -> None:
        """Release touched states, then the account; both are absolute, so a repeated one does no harm."""
        if self.learner.touched:
            self._outbox.state(self.learner.delta(self._outbox.epoch))
        lag, waited = self.consumer.lag()
        LAG_RECORDS.set(lag)
        LAG_SECONDS.set(waited)
        if lag == 0:
            self._health.beat("learning")  # there is nothing to learn
        progress, asked = self.progress, self._prequential
        self._outbox.progress(
            progress.state()
            | {
                "watermark": self.learner.watermark, "items": len(self.learner.items),
                "half_life": self.learner.half_life, "events_per_second": progress.rate,
                "loss": progress.loss, "node_loss": progress.node_loss,
                "pending": self.consumer.pending, "lag_records": lag, "lag_seconds": waited,
                "measured": asked.measured, "unmeasured": asked.unmeasured, "recall": asked.recall(),
                "recent": asked.recent(), "scored_share": asked.scored_share or 0.0,
                "held": self._drift.held, "lost": self.consumer.counts.lost,
            }
        )  # fmt: skip
        self._flushed = time.monotonic()

    def _due(self) -> bool:
        """Whether a checkpoint is due: something was learned, and the interval is over or there are nodes at last."""
        first = self.learner.network.seeded and not self._nodes_published
        over = time.monotonic() - self._published >= self._config.snapshot_interval
        return self._unsaved and (first or over) and not self._publisher.busy

    def _publish(self, alarms: list[Alarm]) -> None:
        self._flush()
        self._nodes_published = self.learner.network.seeded
        self._generation = self.learner.steering.generation  # others wait for the nodes of a rebalance
        self._published = time.monotonic()
        self._unsaved, self._new_epoch, positions = False, False, self._positions
        values = {"consumer": self.consumer.state(), "progress": self.progress.state(), "drift": self._drift.state()}
        self._publisher.take(self.learner, values, lambda: self.consumer.commit(positions), alarms, self._drift.held)

    def _resumed(self, checkpoint: Checkpoint) -> Learner:
        """Go on from a checkpoint; a model of another shape is refused in words."""
        if changed := self._config.model.other_shape(checkpoint.manifest.model):
            raise CheckpointError(
                f"{checkpoint.name} in {self._config.checkpoint_dir} was written with another {', '.join(changed)}; "
                "use the old configuration, or another trainer.checkpoint_dir to start from nothing"
            )
        self.progress.restore(checkpoint.values["progress"])
        self._drift.restore(checkpoint.values["drift"])
        _log.info("going on from %s, %d events", checkpoint.name, checkpoint.manifest.events)
        return Learner.restore(self._config, checkpoint.arrays, checkpoint.values["learner"])


def run(
    trainer: TrainerConfig, streaming: StreamingConfig, monitoring: MonitoringConfig, redis_url: str, digest: str
) -> None:
    """Train until SIGTERM or SIGINT; a second signal ends the process at once."""
    torch.set_num_threads(trainer.threads)
    health = Health("trainer")
    health.expect("poll", within=monitoring.stalled_after)
    health.expect("learning", within=monitoring.stuck_after, reason="records wait in the log, and none is learned")
    port = start_http(monitoring.host, monitoring.trainer_port, health)
    _log.info("trainer reads %s; metrics and health on port %d", streaming.group, port)
    patience = Patience(streaming.patience, health.waits)
    log = open_log(streaming.log, patience)
    try:
        with stop_on_signals() as stop:
            Loop(trainer, streaming, monitoring, log, connect(redis_url), digest, health, patience).run(stop.is_set)
    finally:
        log.close()
