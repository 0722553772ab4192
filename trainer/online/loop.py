"""The online loop: poll, prepare, ask, learn, answer for it; and the process around it."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from hsnn.monitoring.alarms import Alarm
from hsnn.monitoring.config import MonitoringConfig
from hsnn.monitoring.health import Health
from hsnn.monitoring.http import start_http
from hsnn.monitoring.process.failpoints import failpoint
from hsnn.monitoring.process.gc_tuning import freeze_heap
from hsnn.monitoring.process.signals import stop_on_signals
from hsnn.streaming.config import StreamingConfig
from hsnn.streaming.log.base import EventLog
from hsnn.streaming.log.open import open_log
from hsnn.streaming.log.records import Position
from hsnn.streaming.redis.client import Redis, connect
from hsnn.streaming.retry import RetryPolicy
from hsnn.streaming.schema.batch import Batch
from hsnn.trainer.checkpoint.store import CheckpointStore
from hsnn.trainer.checkpoint.triggers import CheckpointTriggers
from hsnn.trainer.config.model import TrainerConfig
from hsnn.trainer.distributed.process_group import ProcessGroup, join_process_group
from hsnn.trainer.metrics import LAG_RECORDS, LAG_SECONDS, STEP_SECONDS
from hsnn.trainer.online.accounting import TrainingProgress
from hsnn.trainer.online.batch_source import make_batch_source
from hsnn.trainer.online.drift import DriftMonitor
from hsnn.trainer.online.follower_worker import FollowerWorker
from hsnn.trainer.online.prequential import LivePrequential
from hsnn.trainer.online.resume import common_checkpoint, make_consumer, resume_learner
from hsnn.trainer.publish.publisher import Publisher
from hsnn.trainer.publish.redis_writer import RedisWriter
from hsnn.trainer.threads import use_threads

_log = logging.getLogger(__name__)
_POLL_SECONDS = 0.2


class OnlineLoop:
    """One trainer over the partitions it owns.

    Parameters
    ----------
    log, redis
        Where events come from, and where states and snapshots go.
    digest
        Of the whole configuration, written into manifests.
    retry_policy
        Of the calls to Redis; the log has its own.
    world
        The other workers, where this is the first of several.
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
        retry_policy: RetryPolicy | None = None,
        world: ProcessGroup | None = None,
    ) -> None:
        self._config = config
        self._health = health or Health("trainer")
        store = CheckpointStore(config.checkpoint_dir, config.checkpoints_kept)
        self._retry_policy = retry_policy or RetryPolicy(streaming.patience, self._health.set_waiting)
        self._outbox = RedisWriter(redis, self._retry_policy)
        self._publisher = Publisher(store, self._outbox, digest)
        self._prequential = LivePrequential(config)
        self._drift = DriftMonitor(monitoring)
        self.progress = TrainingProgress()
        checkpoint = common_checkpoint(store, world)
        self.learner = resume_learner(config, checkpoint, self.progress, self._drift)
        self.learner.network.world = world
        self.consumer = make_consumer(log, streaming, checkpoint, world)
        self.learner.network.descent.guard.limit = monitoring.gradient_limit
        self._turns = make_batch_source(self.consumer, world)
        self._flushed = self._published = time.monotonic()
        self._nodes_published = self._new_epoch = False
        self._turned = self.learner.recycled
        self._positions: dict[Position, int] = {}
        self._unsaved, self._alarms = False, list[Alarm]()
        self._generation = self.learner.commanded.generation
        self._triggers = CheckpointTriggers(config, self.learner.events, self.learner.watermark)
        if checkpoint is not None:
            self._publisher.continue_from(self.learner, checkpoint.name)

    def run(self, stop: Callable[[], bool]) -> None:
        """Learn until `stop` says so, then write a last checkpoint."""
        self._health.set_ready("trainer")
        self._retry_policy.start(stop)
        if self.learner.network.seeded:
            self._publish()  # rows of this epoch: the mirrors reload from here
        while True:
            turn = self._turns.next_round(0.0 if self._publisher.copying else _POLL_SECONDS, stop=stop())
            self._health.beat("poll")
            batch = turn.batch
            self._alarms += [] if batch is None else self._learn(batch)
            if turn.stop:
                break
            if batch is None or batch.caught_up or time.monotonic() - self._flushed >= self._config.flush_interval:
                self._flush()
            self._publisher.advance()
            if turn.aligned and self._turns.broadcast_decision(self._due()):
                self._publish()
        if self._turns.broadcast_decision(self._unsaved or bool(self._alarms)):
            self._publish()
        self._publisher.close()
        self._prequential.close()
        self.consumer.close()
        self._flush()

    def _begin_anew(self) -> None:
        """Redis came back, perhaps without what it was told last: tell it everything, under a new epoch."""
        self._publisher.wait()  # what it still hands out is of the epoch that ends
        self._outbox.restart_epochs()
        _log.warning("Redis was restarted; everything is published again, as epoch %d", self._outbox.epoch)

    def _learn(self, batch: Batch) -> list[Alarm]:
        learner = self.learner
        prepared = learner.prepare(batch)
        if learner.recycled != self._turned:  # rows mean other items from here on
            self._turned, self._new_epoch = learner.recycled, True
            self._outbox.begin_epoch()
        asked = self._prequential.submit(prepared, learner)
        failpoint("step")
        with STEP_SECONDS.time():
            report = learner.train(prepared)
        failpoint("step")
        self._positions, self._unsaved = self._positions | batch.positions, True
        self.progress.count(batch, report)
        if report.events or not report.unsafe:
            self._health.beat("learning")
        alarms = self._drift.update(prepared, report)
        self._prequential.collect(asked)
        self._outbox.write_feed(prepared.feed)  # not before the answers: a new item may be one that was asked for
        return alarms

    def _flush(self) -> None:
        """Release touched states, then the account; both are absolute, so a repeated one does no harm."""
        if self.learner.touched:
            self._outbox.write_state_delta(self.learner.delta(self._outbox.epoch))
            self._flushed = time.monotonic()
        lag, waited = self._turns.lag()
        LAG_RECORDS.set(lag)
        LAG_SECONDS.set(waited)
        if lag == 0:
            self._health.beat("learning")  # there is nothing to learn
        progress, asked = self.progress, self._prequential
        self._outbox.write_progress(
            progress.state_dict()
            | {
                "watermark": self.learner.watermark,
                "items": len(self.learner.items),
                "half_life": self.learner.half_life,
                "events_per_second": progress.rate,
                "loss": progress.loss,
                "node_loss": progress.node_loss,
                "pending": self._turns.pending,
                "lag_records": lag,
                "lag_seconds": waited,
                "measured": asked.measured,
                "unmeasured": asked.unmeasured,
                "recall": asked.recall(),
                "recent": asked.recent(),
                "scored_share": asked.scored_share or 0.0,
                "held": self._drift.hold_reason,
                "lost": self._turns.lost_records(),
            }
        )

    def _due(self) -> bool:
        """Whether a checkpoint is due.

        So many events, or so much stream time, were learned; or something was learned, and the interval is over or
        there are nodes at last; an alarm waits; nodes were rebalanced; rows mean other items; or Redis must be told
        everything again. Only for the first of these a checkpoint that is under way is waited for: it belongs to this
        very position.
        """
        if self._triggers.passed(self.learner.events, self.learner.watermark):
            return True
        seeded = self.learner.network.seeded
        anew = self._new_epoch or (self._outbox.server_restarted and seeded)
        if anew or self._generation != self.learner.commanded.generation:
            return True
        first = seeded and not self._nodes_published
        over = time.monotonic() - self._published >= self._config.snapshot_interval
        return bool(self._alarms or (self._unsaved and (first or over))) and not self._publisher.busy

    def _publish(self) -> None:
        if self._outbox.server_restarted:
            self._begin_anew()
        self._flush()
        self._nodes_published = self.learner.network.seeded
        self._generation = self.learner.commanded.generation  # others wait for the nodes of a rebalance
        self._published = time.monotonic()
        self._unsaved, self._new_epoch, positions = False, False, self._positions
        alarms, self._alarms = self._alarms, []
        values = {
            "consumer": self._turns.deferred_state_dict(),
            "progress": self.progress.state_dict(),
            "drift": self._drift.state_dict(),
        }
        self._publisher.begin_checkpoint(
            self.learner, values, lambda: self.consumer.commit(positions), alarms, self._drift.hold_reason
        )


def run(
    trainer: TrainerConfig, streaming: StreamingConfig, monitoring: MonitoringConfig, redis_url: str, digest: str
) -> None:
    """Train until SIGTERM or SIGINT; a second signal ends the process at once.

    Under torchrun this is one of several workers: the first one does what the only one would, the others help it learn.
    """
    use_threads(trainer.threads)
    world = join_process_group(monitoring.worker_timeout + streaming.patience, digest)
    health = Health("trainer")
    if world is None or world.rank == 0:
        _open_port(monitoring, health, streaming.group)
    retry_policy = RetryPolicy(streaming.patience, health.set_waiting)
    log = open_log(streaming.log, retry_policy)
    try:
        with stop_on_signals() as stop:
            if world is not None and world.rank:
                companion = FollowerWorker(trainer, streaming, monitoring, log, world, retry_policy)
                freeze_heap()
                companion.run(stop.is_set)
            else:
                redis = connect(redis_url)
                loop = OnlineLoop(trainer, streaming, monitoring, log, redis, digest, health, retry_policy, world)
                freeze_heap()
                loop.run(stop.is_set)
    finally:
        log.close()
        if world is not None:
            world.destroy()


def _open_port(monitoring: MonitoringConfig, health: Health, group: str) -> None:
    """Serve metrics and health."""
    health.expect("poll", within=monitoring.stalled_after)
    health.expect("learning", within=monitoring.stuck_after, reason="records wait in the log, and none is learned")
    port = start_http(monitoring.host, monitoring.trainer_port, health)
    _log.info("trainer reads %s; metrics and health on port %d", group, port)
