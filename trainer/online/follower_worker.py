"""The loop of a worker that is not the first: it learns what all learn, and hands nothing out."""

from __future__ import annotations

from collections.abc import Callable

from hsnn.monitoring.config import MonitoringConfig
from hsnn.monitoring.process.failpoints import failpoint
from hsnn.streaming.config import StreamingConfig
from hsnn.streaming.log.base import EventLog
from hsnn.streaming.retry import RetryPolicy
from hsnn.streaming.schema.batch import Batch
from hsnn.trainer.checkpoint.store import CheckpointStore
from hsnn.trainer.config.model import TrainerConfig
from hsnn.trainer.distributed.process_group import ProcessGroup
from hsnn.trainer.online.accounting import TrainingProgress
from hsnn.trainer.online.batch_source import DistributedBatchSource
from hsnn.trainer.online.drift import DriftMonitor
from hsnn.trainer.online.resume import common_checkpoint, make_consumer, resume_learner

_POLL_SECONDS = 0.2


class FollowerWorker:
    """Keeps step with the first worker, whose loop is `hsnn.trainer.online.loop.OnlineLoop`.

    Checkpoints, snapshots, deltas, the feed, alarms, metrics and committed positions are the first one's alone; what
    goes into its checkpoint from here is the state of this worker's consumer.
    """

    def __init__(
        self,
        config: TrainerConfig,
        streaming: StreamingConfig,
        monitoring: MonitoringConfig,
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
        self.learner.network.descent.guard.limit = monitoring.gradient_limit
        self.consumer = make_consumer(log, streaming, checkpoint, world)
        self._turns = DistributedBatchSource(self.consumer, world)

    def run(self, stop: Callable[[], bool]) -> None:
        """Learn until any worker is told to stop."""
        self._retry_policy.start(stop)
        if self.learner.network.seeded:
            self._turns.state_dict()
        last = False
        while not last:
            turn = self._turns.next_round(_POLL_SECONDS, stop=stop())
            if turn.batch is not None:
                self._learn(turn.batch)
            last = turn.stop
            if turn.aligned and self._turns.broadcast_decision(False):
                self._turns.state_dict()
        self.consumer.close()

    def _learn(self, batch: Batch) -> None:
        prepared = self.learner.prepare(batch)
        failpoint("step")
        report = self.learner.train(prepared)
        failpoint("step")
        self.progress.count(batch, report)
        self._drift.update(prepared, report)
        self.learner.discard_delta()
