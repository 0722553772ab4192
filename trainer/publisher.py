"""Checkpoint first, then everything that depends on it: committed positions, snapshots, alarms.

1. copy the state between two steps; 2. write and fsync it in a thread; then 3. hand the snapshot out, from that thread,
and 4. commit the positions to the log's group, from the thread that owns the log. Only what is durable is ever
published or committed.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from monitoring.alarms import Alarm
from monitoring.phases import reached
from trainer.checkpoint import CheckpointStore
from trainer.learner import Learner
from trainer.metrics import CHECKPOINT_SECONDS
from trainer.outbox import Outbox
from trainer.snapshot import Origin, snapshot_of

_log = logging.getLogger(__name__)


class Publisher:
    """Takes checkpoints of a learner and publishes them, one at a time.

    Parameters
    ----------
    digest
        Of the configuration, for manifests.
    """

    def __init__(self, store: CheckpointStore, outbox: Outbox, digest: str) -> None:
        self._store, self._outbox, self._digest = store, outbox, digest
        self._pool = ThreadPoolExecutor(1, "checkpoint")
        self._running: Future[None] | None = None
        self._commits: list[Callable[[], None]] = []

    @property
    def busy(self) -> bool:
        """Whether a checkpoint is being written."""
        return self._running is not None and not self._running.done()

    def take(
        self,
        learner: Learner,
        values: Mapping[str, Any],
        commit: Callable[[], None],
        alarms: list[Alarm],
        held: str = "",
    ) -> None:
        """Copy the learner now and write, commit and publish in the background; waits for one that is under way.

        `values` go into the checkpoint beside the learner's own. With a reason why the model is `held`, the checkpoint
        says so and its snapshot is not handed out. Call with all touched states already sent.
        """
        self.wait()
        started = time.perf_counter()
        arrays, own = learner.state()
        outbox, number = self._outbox, self._outbox.next_snapshot()
        origin = Origin(number, outbox.epoch, "", outbox.state_id, outbox.feed_id, self._digest)
        snapshot = snapshot_of(learner, origin)
        manifest = {
            "events": learner.events, "watermark": learner.watermark, "config_digest": self._digest,
            "model": learner.config.model.model_dump(mode="json"), "threads": learner.config.threads,
            "held": held,
        }  # fmt: skip
        handed_out = learner.network.seeded and not held

        def work() -> None:
            name = self._store.write(arrays, {**values, "learner": own}, **manifest)
            CHECKPOINT_SECONDS.observe(time.perf_counter() - started)
            self._commits.append(commit)
            reached("publish")
            if held:
                _log.warning("%s, %d events, is held back: %s", name, manifest["events"], held)
            if handed_out:
                self._outbox.snapshot(snapshot.of_checkpoint(name))
                _log.info("snapshot %d of %s, %d events", number, name, manifest["events"])
            for alarm in alarms:
                self._outbox.alarm(alarm, number if handed_out else 0)
            reached("publish")

        self._running = self._pool.submit(work)

    def settle(self) -> None:
        """Commit what has become durable; called from the thread that owns the log."""
        if self._running is not None and self._running.done():
            self._running.result()
            self._running = None
        while self._commits:
            reached("commit")
            self._commits.pop(0)()
            reached("commit")

    def wait(self) -> None:
        """Wait for the checkpoint under way and commit it; raises what went wrong in it."""
        if self._running is not None:
            self._running.result()
        self.settle()

    def close(self) -> None:
        """Finish what is under way."""
        self.wait()
        self._pool.shutdown()
