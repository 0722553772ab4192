"""The loop of every worker but the first: it trains the same steps and publishes nothing."""

from __future__ import annotations

from collections.abc import Callable

from hsnn.monitoring.config import MonitoringConfig
from hsnn.monitoring.process.failpoints import failpoint
from hsnn.streaming.config import StreamingConfig
from hsnn.streaming.decode.decode_journal import DecodeJournal
from hsnn.streaming.log.base import EventLog
from hsnn.streaming.retry import RetryPolicy
from hsnn.streaming.schema.batch import Batch
from hsnn.trainer.checkpoint.store import CheckpointStore
from hsnn.trainer.config.model import TrainerConfig
from hsnn.trainer.distributed.process_group import ProcessGroup
from hsnn.trainer.online.batch_source import DistributedBatchSource
from hsnn.trainer.online.drift import DriftMonitor
from hsnn.trainer.online.observation import begin_observation
from hsnn.trainer.online.progress import TrainingProgress
from hsnn.trainer.online.resume import common_checkpoint, make_consumer, resume_learner

# Longest wait for a batch, seconds: how soon a stop request is noticed.
_POLL_SECONDS = 0.2


class FollowerWorker:
    """Train in lockstep with the first worker, whose loop is `hsnn.trainer.online.loop.OnlineLoop`.

    The first worker alone writes checkpoints, snapshots, deltas, the feed, alarms and metrics, and commits positions;
    of this worker its checkpoint has the consumer's state.
    """

    def __init__(
        self,
        config: TrainerConfig,
        streaming: StreamingConfig,
        monitoring: MonitoringConfig,
        *,
        log: EventLog,
        world: ProcessGroup,
        retry_policy: RetryPolicy,
    ) -> None:
        self._retry_policy = retry_policy
        self.progress, self._drift = TrainingProgress(), DriftMonitor(monitoring)
        store = CheckpointStore(config.checkpoint_dir, config.checkpoints_kept)
        checkpoint = common_checkpoint(store, world)
        self.learner = resume_learner(config, checkpoint, self.progress, self._drift)
        self.learner.network.world = world
        self.learner.network.optimizer.guard.limit = monitoring.gradient_limit
        state = None if checkpoint is None else checkpoint.values["consumer"]
        journal = DecodeJournal(config.checkpoint_dir, world.rank)
        self.consumer = make_consumer(log, streaming, state, world=world, journal=journal)
        self._source = DistributedBatchSource(self.consumer, world)

    def run(self, stop: Callable[[], bool]) -> None:
        """Train until any worker is asked to stop."""
        self._retry_policy.start(stop)
        if self.learner.network.seeded:
            self._source.state_dict()
        last = False
        while not last:
            batch_round = self._source.next_round(_POLL_SECONDS, stop=stop())
            if batch_round.batch is not None:
                self._train(batch_round.batch)
            last = batch_round.stop
            if batch_round.aligned and self._source.broadcast_decision(False):
                self._source.state_dict()
        self.consumer.close()

    def _train(self, batch: Batch) -> None:
        prepared = self.learner.prepare(batch)
        observe = begin_observation(self.learner, batch, prepared)
        failpoint("step")
        report = self.learner.train(prepared)
        failpoint("step")
        self.progress.count(batch, report)
        self._drift.update(observe(report))
        self.learner.discard_delta()
