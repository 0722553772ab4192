"""The loop of a worker that is not the first: it learns what all learn, and hands nothing out."""

from __future__ import annotations

from collections.abc import Callable

from hsnn.monitoring.config import MonitoringConfig
from hsnn.monitoring.process.failpoints import reached
from hsnn.streaming.config import StreamingConfig
from hsnn.streaming.log.base import EventLog
from hsnn.streaming.retry import RetryPolicy
from hsnn.streaming.schema.batch import Batch
from hsnn.trainer.checkpoint.store import CheckpointStore
from hsnn.trainer.config.model import TrainerConfig
from hsnn.trainer.distributed.process_group import World
from hsnn.trainer.online.accounting import Progress
from hsnn.trainer.online.batch_source import SharedTurns
from hsnn.trainer.online.drift import DriftWatch
from hsnn.trainer.online.resume import common_checkpoint, consumer_of, resumed

_POLL_SECONDS = 0.2


class Companion:
    """Keeps step with the first worker, whose loop is `hsnn.trainer.online.loop.Loop`.

    Checkpoints, snapshots, deltas, the feed, alarms, metrics and committed positions are the first one's alone; what
    goes into its checkpoint from here is the state of this worker's consumer.
    """

    def __init__(
        self,
        config: TrainerConfig,
        streaming: StreamingConfig,
        monitoring: MonitoringConfig,
        log: EventLog,
        world: World,
        retry_policy: RetryPolicy,
    ) -> None:
        self._retry_policy = retry_policy
        self.progress, self._drift = Progress(), DriftWatch(monitoring)
        store = CheckpointStore(config.checkpoint_dir, config.checkpoints_kept)
        checkpoint = common_checkpoint(store, world)
        self.learner = resumed(config, checkpoint, self.progress, self._drift)
        self.learner.network.world = world
        self.learner.network.descent.guard.limit = monitoring.gradient_limit
        self.consumer = consumer_of(log, streaming, checkpoint, world)
        self._turns = SharedTurns(self.consumer, world)

    def run(self, stop: Callable[[], bool]) -> None:
        """Learn until any worker is told to stop."""
        self._retry_policy.start(stop)
        if self.learner.network.seeded:
            self._turns.state()
        last = False
        while not last:
            turn = self._turns.next(_POLL_SECONDS, stop=stop())
            if turn.batch is not None:
                self._learn(turn.batch)
            last = turn.stop
            if turn.settled and self._turns.agreed(False):
                self._turns.state()
        self.consumer.close()

    def _learn(self, batch: Batch) -> None:
        prepared = self.learner.prepare(batch)
        reached("step")
        report = self.learner.train(prepared)
        reached("step")
        self.progress.count(batch, report)
        self._drift.update(prepared, report)
        self.learner.forget_touched()
