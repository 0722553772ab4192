"""The online training loop: poll, preprocess, query, train, publish; and the process around it."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hsnn.monitoring.alarms import Alarm
from hsnn.monitoring.config import MonitoringConfig
from hsnn.monitoring.health import Health
from hsnn.monitoring.http import start_http
from hsnn.monitoring.metrics import ALARMS
from hsnn.monitoring.process.failpoints import failpoint
from hsnn.monitoring.process.gc_tuning import freeze_heap
from hsnn.monitoring.process.signals import stop_on_signals
from hsnn.streaming.config import StreamingConfig
from hsnn.streaming.decode.decode_journal import DecodeJournal
from hsnn.streaming.errors import StateError
from hsnn.streaming.log.base import EventLog
from hsnn.streaming.log.open import open_log
from hsnn.streaming.log.records import Position
from hsnn.streaming.redis.client import Redis, connect
from hsnn.streaming.retry import RetryPolicy
from hsnn.streaming.schema.batch import Batch
from hsnn.trainer.checkpoint.folder_lock import FolderLock
from hsnn.trainer.checkpoint.store import CheckpointStore
from hsnn.trainer.checkpoint.triggers import CheckpointTriggers
from hsnn.trainer.config.model import TrainerConfig
from hsnn.trainer.distributed.process_group import ProcessGroup, join_process_group
from hsnn.trainer.errors import CheckpointError
from hsnn.trainer.metrics import LAG_RECORDS, LAG_SECONDS, STEP_SECONDS, UNCOMMITTED_RECORDS
from hsnn.trainer.online.batch_source import make_batch_source
from hsnn.trainer.online.drift import DriftMonitor
from hsnn.trainer.online.expiry_alarm import ExpiryAlarm
from hsnn.trainer.online.follower_worker import FollowerWorker
from hsnn.trainer.online.item_restater import ItemRestater
from hsnn.trainer.online.observation import begin_observation
from hsnn.trainer.online.prequential import LivePrequential
from hsnn.trainer.online.progress import TrainingProgress, note_off_time
from hsnn.trainer.online.resume import common_checkpoint, make_consumer, resume_learner
from hsnn.trainer.publish.adoption import AdoptionWatch
from hsnn.trainer.publish.ownership import Ownership
from hsnn.trainer.publish.publisher import Publisher
from hsnn.trainer.publish.redis_writer import RedisWriter
from hsnn.trainer.threads import use_threads

_log = logging.getLogger(__name__)
# Longest wait for a batch, seconds: how soon a stop request is noticed.
_POLL_SECONDS = 0.2

# Seconds between two looks for partitions that were added and for open transactions: both are rare.
_PARTITIONS_SECONDS = 10.0

# Times `monitoring.stuck_after` (10 minutes by default): a version of millions of items takes minutes to build.
_ADOPTION_FACTOR = 5.0

# Seconds to wait for the folder of checkpoints: as long as for the lease, and while a trainer that was told to end by a
# take-over finishes the checkpoint that it is writing.
_FOLDER_SECONDS, _FOLDER_SECONDS_TAKE_OVER = 10.0, 60.0


class OnlineLoop:
    """Train on the batches of this worker, the only one or the first of several, and publish the results.

    Parameters
    ----------
    log, redis
        Source of the events, and destination of states and snapshots.
    digest
        Digest of the configuration, for manifests.
    retry_policy
        For the calls to Redis; the log has its own.
    world
        The process group, where this is the first of several workers.
    ownership
        The right to write to Redis; None takes over from whoever has it.
    journal
        Notes what is being decoded; None: nobody does.
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
        ownership: Ownership | None = None,
        journal: DecodeJournal | None = None,
    ) -> None:
        self._config, self._stalled_after = config, monitoring.stalled_after
        self._health = health or Health("trainer")
        store = CheckpointStore(config.checkpoint_dir, config.checkpoints_kept)
        self._retry_policy = retry_policy or RetryPolicy(streaming.patience, self._health.set_waiting)
        self._writer = RedisWriter(
            redis, self._retry_policy, ownership, notify=lambda text: self._health.set_problem("redis", text)
        )
        self._adoption = AdoptionWatch(redis, _ADOPTION_FACTOR * monitoring.stuck_after)
        self._publisher = Publisher(
            store,
            self._writer,
            digest,
            on_published=self._adoption.note_published,
            notify=lambda text: self._health.set_problem("checkpoints", text),
        )
        self._checkpoint_failed = False
        self._prequential = LivePrequential(config)
        self._drift = DriftMonitor(monitoring)
        self.progress = TrainingProgress()
        checkpoint = common_checkpoint(store, world)
        self.learner = resume_learner(config, checkpoint, self.progress, self._drift)
        self.learner.network.world = world
        self._expiry_alarm = ExpiryAlarm(self.learner.departures, config.catalogue.mass_expiry_share)
        self._log, self._streaming, self._world = log, streaming, world
        state = None if checkpoint is None else checkpoint.values["consumer"]
        self._journal = journal
        self.consumer = make_consumer(log, streaming, state, world=world, journal=self._journal)
        self.learner.network.optimizer.guard.limit = monitoring.gradient_limit
        self._source = make_batch_source(self.consumer, world)
        self._restater = ItemRestater(log, streaming.items_topic)
        self._flushed = self._published = self._partitions_at = time.monotonic()
        self._nodes_published = self._new_epoch = False
        self._turned = self.learner.recycled
        self._positions: dict[Position, int] = {}
        self._unsaved, self._alarms = False, list[Alarm]()
        self._windows_shown = 0
        self._generation = self.learner.commanded.generation
        self._triggers = CheckpointTriggers(config, self.learner.events, self.learner.watermark)
        if checkpoint is not None:
            self._publisher.continue_from(self.learner, checkpoint.name)

    def run(self, stop: Callable[[], bool]) -> None:
        """Train until `stop` returns True, then write a last checkpoint."""
        self._health.set_ready("trainer")
        self._retry_policy.start(stop)
        if self.learner.network.seeded:
            self._publish()  # rows of this epoch: the mirrors reload from here
        while True:
            batch_round = self._source.next_round(0.0 if self._publisher.copying else _POLL_SECONDS, stop=stop())
            if self.consumer.poll_seconds() < self._stalled_after:
                self._health.beat("poll")  # not while the thread that reads ahead hangs in the log's client
            batch = batch_round.batch
            self._alarms += [] if batch is None else self._train(batch)
            if batch_round.stop:
                break
            if batch is None or batch.caught_up or time.monotonic() - self._flushed >= self._config.flush_interval:
                self._flush()
            self._publisher.advance()
            self._note_failed_checkpoint()
            if batch_round.aligned and self._source.broadcast_decision(self._due()):
                self._publish()
            if batch_round.aligned and time.monotonic() - self._partitions_at >= _PARTITIONS_SECONDS:
                self.join_added_partitions()
        if self._source.broadcast_decision(self._unsaved or bool(self._alarms)):
            self._publish()
        self._publisher.close()
        self._prequential.close()
        self.consumer.close()
        self._flush()
        if self._note_failed_checkpoint():
            raise CheckpointError(
                f"the last checkpoint could not be written in {self._config.checkpoint_dir}, as the log says; what was "
                "learned since the one before is learned again at the next start"
            )

    def _note_failed_checkpoint(self) -> bool:
        """Take over what a checkpoint that could not be written leaves to the next one; return whether one did."""
        alarms = self._publisher.take_failed()
        if alarms is None:
            return False
        self._alarms, self._unsaved, self._checkpoint_failed = [*alarms, *self._alarms], True, True
        return True

    def join_added_partitions(self) -> None:
        """Read partitions that were added since the start, from their oldest record on.

        A checkpoint is written first, and the consumer continues from its state, as after a restart: whoever resumes
        from it joins them at the same place.

        Raises
        ------
        StateError
            There are several workers, which have to start again together.
        """
        self._partitions_at = time.monotonic()
        UNCOMMITTED_RECORDS.set(self.consumer.uncommitted())
        if not (added := self.consumer.added_partitions()):
            return
        names = ", ".join(f"{topic}/{partition}" for topic, partition in added)
        if self._world is not None:
            raise StateError(f"partitions were added ({names}); all workers start again, from the newest checkpoint")
        self._publish()
        self._publisher.wait()
        if self._note_failed_checkpoint():
            return  # without a checkpoint there is no place where a restart would join them
        state = self.consumer.state_dict()
        self.consumer.close()
        self.consumer = make_consumer(self._log, self._streaming, state, world=None, journal=self._journal)
        self._source = make_batch_source(self.consumer, None)
        _log.warning("partitions were added and are read from here on: %s", names)

    def _republish_everything(self) -> None:
        """Start a new epoch after a restart of Redis, which may have lost the last writes."""
        self._publisher.wait()  # a checkpoint in progress publishes under the epoch that ends
        self._writer.restart_epochs()
        _log.warning("Redis was restarted; everything is published again, as epoch %d", self._writer.epoch)

    def _train(self, batch: Batch) -> list[Alarm]:
        learner = self.learner
        prepared = learner.prepare(batch)
        if learner.recycled != self._turned:  # recycled rows have other items from here on
            self._turned, self._new_epoch = learner.recycled, True
            self._writer.begin_epoch()
        self._restater.append(prepared.restated)
        queries = self._prequential.submit(prepared, learner)
        observe = begin_observation(learner, batch, prepared)
        failpoint("step")
        with STEP_SECONDS.time():
            report = learner.train(prepared)
        failpoint("step")
        self._positions, self._unsaved = self._positions | batch.positions, True
        self.progress.count(batch, report)
        note_off_time(batch, round(1000 * self._streaming.max_future))
        if report.events or not report.unsafe:
            self._health.beat("learning")
        alarms = self._drift.update(observe(report)) + self._expiry_alarm.update(learner.watermark)
        self._prequential.collect(queries)
        self._writer.write_feed(prepared.feed)  # after the answers: a new item may be the target of a query
        return alarms

    def _flush(self) -> None:
        """Publish changed states, then the progress; both are idempotent."""
        if self.learner.touched:
            self._writer.write_state_delta(self.learner.delta(self._writer.epoch))
            self._flushed = time.monotonic()
        lag, waited = self._source.lag()
        LAG_RECORDS.set(lag)
        LAG_SECONDS.set(waited)
        if lag == 0:
            self._health.beat("learning")  # an empty log is no stall
        if (alarm := self._adoption.check(self.learner.watermark)) is not None:
            ALARMS.labels(alarm.kind).inc()
            self._writer.write_alarm(alarm, 0)
        progress, prequential = self.progress, self._prequential
        self._writer.write_progress(
            progress.state_dict()
            | {
                "watermark": self.learner.watermark,
                "items": len(self.learner.items),
                "half_life": self.learner.half_life,
                "events_per_second": progress.rate,
                "loss": progress.loss,
                "node_loss": progress.node_loss,
                "pending": self._source.pending,
                "lag_records": lag,
                "lag_seconds": waited,
                "measured": prequential.measured,
                "unmeasured": prequential.unmeasured,
                "recall": prequential.recall(),
                "recent": prequential.recent(),
                "scored_share": prequential.scored_share or 0.0,
                "held": self._drift.hold_reason,
                "lost": self._source.lost_records(),
                "windows": self._windows(),
                "by_version": prequential.by_version(),
            }
            | self._changed_signals()
        )

    def _windows(self) -> dict[str, int]:
        """Return what joiner and deduplication hold, and what the joiner did since this process began."""
        progress = self.progress
        return self._source.window_sizes()._asdict() | {
            "labelled": progress.labelled,
            "labelled_early": progress.labelled_early,
            "late_actions": progress.late_actions,
        }

    def _changed_signals(self) -> dict[str, Any]:
        """Return the signals for the progress, if a window has ended since the last time."""
        if self._drift.windows == self._windows_shown:
            return {}
        self._windows_shown = self._drift.windows
        return {"signals": self._drift.recent_signals()}

    def _due(self) -> bool:
        """Return whether a checkpoint is due.

        It is, after a number of events or a span of event time; when rows were recycled, Redis was restarted, or nodes
        were rebalanced; and, unless a checkpoint is still in progress, when an alarm is to be published, or something
        was trained and the interval has passed or the nodes exist for the first time. The first kind has to happen at
        this very position in the log, so that it waits for a checkpoint in progress.
        """
        if self._triggers.passed(self.learner.events, self.learner.watermark):
            return True
        seeded = self.learner.network.seeded
        republish = self._new_epoch or (self._writer.server_restarted and seeded)
        if republish or self._generation != self.learner.commanded.generation:
            return True
        first_nodes = seeded and not self._nodes_published
        interval_passed = time.monotonic() - self._published >= self._config.snapshot_interval
        wanted = bool(self._alarms) or (self._unsaved and (first_nodes or interval_passed))
        return wanted and not self._publisher.busy and (interval_passed or not self._checkpoint_failed)

    def _publish(self) -> None:
        if self._writer.server_restarted:
            self._republish_everything()
        self._flush()
        self._nodes_published = self.learner.network.seeded
        self._generation = self.learner.commanded.generation  # others wait for the nodes of a rebalance
        self._published = time.monotonic()
        self._restater.flush()
        self._unsaved, self._new_epoch, positions = False, False, self._positions
        self._checkpoint_failed = False
        alarms, self._alarms = self._alarms, []
        values = {
            "consumer": self._source.deferred_state_dict(),
            "progress": self.progress.state_dict(),
            "drift": self._drift.state_dict(),
        }
        self._publisher.begin_checkpoint(
            self.learner,
            values,
            commit=lambda: self.consumer.commit(positions),
            alarms=alarms,
            held=self._drift.hold_reason,
        )


def become_owner(redis: Redis, folder: Path, *, take_over: bool = False) -> tuple[Ownership, FolderLock]:
    """Become the one trainer of this Redis and this folder of checkpoints; both are to be kept until the process ends.

    A trainer that was killed is followed at once if its folder tells so, else when its lease has ended. With
    `take_over`, a living one ends at its next write.

    Raises
    ------
    OwnershipError
        Another trainer is alive.
    """
    ownership, lock = Ownership(redis), FolderLock(folder)
    if take_over:
        ownership.wait_and_claim(take_over=True)
        lock.acquire(_FOLDER_SECONDS_TAKE_OVER)
    else:
        lock.acquire(_FOLDER_SECONDS)
        ownership.wait_and_claim(dead=lock.previous_owner)
    lock.note_owner(str(ownership.owner))
    return ownership, lock


def run(
    trainer: TrainerConfig,
    streaming: StreamingConfig,
    monitoring: MonitoringConfig,
    redis_url: str,
    digest: str,
    *,
    take_over: bool = False,
) -> None:
    """Train until SIGTERM or SIGINT; a second signal ends the process at once.

    Under torchrun this is one of several workers: the first one publishes, the others only train. There is one trainer;
    with `take_over` it is this one, and another that runs ends.
    """
    use_threads(trainer.threads)
    world = join_process_group(monitoring.worker_timeout + streaming.patience, digest)
    health = Health("trainer")
    if world is None or world.rank == 0:
        _serve_metrics(monitoring, health, streaming.group)
    retry_policy = RetryPolicy(streaming.patience, health.set_waiting)
    log = open_log(streaming.log, retry_policy)
    try:
        with stop_on_signals() as stop:
            if world is not None and world.rank:
                follower = FollowerWorker(
                    trainer, streaming, monitoring, log=log, world=world, retry_policy=retry_policy
                )
                freeze_heap()
                follower.run(stop.is_set)
            else:
                redis = connect(redis_url)
                ownership, _lock = become_owner(redis, trainer.checkpoint_dir, take_over=take_over)
                loop = OnlineLoop(
                    trainer,
                    streaming,
                    monitoring,
                    log=log,
                    redis=redis,
                    digest=digest,
                    health=health,
                    retry_policy=retry_policy,
                    world=world,
                    ownership=ownership,
                    journal=DecodeJournal(trainer.checkpoint_dir),
                )
                freeze_heap()
                loop.run(stop.is_set)
                ownership.release()
    finally:
        log.close()
        if world is not None:
            world.destroy()


def _serve_metrics(monitoring: MonitoringConfig, health: Health, group: str) -> None:
    """Serve metrics and health over HTTP."""
    health.expect("poll", within=monitoring.stalled_after)
    health.expect("learning", within=monitoring.stuck_after, reason="the log has records, but none is trained")
    port = start_http(monitoring.host, monitoring.trainer_port, health)
    _log.info("trainer reads %s; metrics and health on port %d", group, port)
