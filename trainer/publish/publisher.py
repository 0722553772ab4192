"""Write checkpoints, then publish what depends on them: snapshots, alarms, committed positions.

1. copy a consistent state of the learner, in slices between training steps (copy on write); 2. write and fsync it in a
thread; then 3. publish the snapshot from that thread, and 4. commit the positions to the consumer group from the thread
that owns the log. Only durable state is ever published or committed.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any

from hsnn.monitoring.alarms import Alarm
from hsnn.monitoring.process.failpoints import failpoint
from hsnn.trainer.checkpoint.learner_copy import LearnerCopy
from hsnn.trainer.checkpoint.row_delta import TableRows
from hsnn.trainer.checkpoint.store import CheckpointStore
from hsnn.trainer.messages import SnapshotManifest
from hsnn.trainer.metrics import CHECKPOINT_PAUSE, CHECKPOINT_SECONDS, CHECKPOINTS_FAILED
from hsnn.trainer.publish.redis_writer import RedisWriter
from hsnn.trainer.publish.snapshot import SnapshotOrigin, make_snapshot_manifest
from hsnn.trainer.publish.snapshot_encoder import SnapshotEncoder
from hsnn.trainer.training.learner import Learner

_log = logging.getLogger(__name__)
# Seconds of copying between two training steps: a fraction of a step, so that training hardly slows down.
_SLICE_SECONDS = 0.004


class Publisher:
    """Take checkpoints of a learner and publish them, one at a time.

    Parameters
    ----------
    digest
        Digest of the configuration, for manifests.
    on_pause
        Called with the seconds that training waited for copying in one step.
    on_published
        Called with the number of each snapshot that was announced.
    notify
        Called with why a checkpoint cannot be written and what to do about it, and with None once one is.
    """

    def __init__(
        self,
        store: CheckpointStore,
        writer: RedisWriter,
        digest: str,
        on_pause: Callable[[float], None] = CHECKPOINT_PAUSE.observe,
        on_published: Callable[[int], None] = lambda number: None,  # noqa: ARG005
        notify: Callable[[str | None], object] = lambda text: None,  # noqa: ARG005
    ) -> None:
        self._store, self._writer, self._digest, self._on_pause = store, writer, digest, on_pause
        self._on_published, self._notify = on_published, notify
        self._failed: list[Alarm] | None = None  # alarms of the checkpoints that could not be written
        self._failing = False  # whether the last one could not
        self._pool = ThreadPoolExecutor(1, "checkpoint")
        self._copy_of_learner: LearnerCopy | None = None
        self._previous = ""  # newest checkpoint that an incremental one may refer to
        self._after_copy: Callable[[], None] | None = None  # submitted to the thread once the copy is complete
        self._running: Future[None] | None = None
        self._commits: list[Callable[[], None]] = []

    @property
    def copying(self) -> bool:
        """Whether a copy is in progress; `advance` continues it."""
        return self._after_copy is not None

    @property
    def busy(self) -> bool:
        """Whether a checkpoint is being copied or written."""
        return self.copying or (self._running is not None and not self._running.done())

    def continue_from(self, learner: Learner, checkpoint: str) -> None:
        """Declare that the learner has the state of `checkpoint`, so that the next one may be incremental."""
        self._copy_of_learner, self._previous = LearnerCopy(learner, known=True), checkpoint

    def begin_checkpoint(
        self,
        learner: Learner,
        values: Mapping[str, Any],
        commit: Callable[[], None],
        alarms: list[Alarm],
        held: str = "",
    ) -> None:
        """Begin a checkpoint of the current state, to be copied, written, published and committed.

        Waits for a checkpoint in progress. `values` go into the checkpoint beside the learner's own; those that are
        functions are called in the thread. `held` is the reason, if any, not to publish the snapshot; the manifest of
        the checkpoint has it. All state deltas must have been written before.
        """
        self.wait()
        started = time.perf_counter()
        if self._copy_of_learner is None or self._copy_of_learner.learner is not learner:
            self._copy_of_learner, self._previous = LearnerCopy(learner), ""
        self._copy_of_learner.begin()
        writer = self._writer
        origin = SnapshotOrigin(
            snapshot=writer.next_snapshot(),
            epoch=writer.epoch,
            state_id=writer.state_id,
            feed_id=writer.feed_id,
            config_digest=self._digest,
        )
        snapshot = make_snapshot_manifest(learner, origin) if learner.network.seeded and not held else None
        manifest = {
            "events": learner.events,
            "watermark": learner.watermark,
            "config_digest": self._digest,
            "model": learner.config.model.model_dump(mode="json"),
            "threads": learner.config.threads,
            "held": held,
        }
        write = partial(self._write, self._copy_of_learner, values, manifest)

        def work() -> None:
            try:
                name = write()
            except OSError as error:
                self._note_failure(error, alarms)
                return
            self._notify(None)
            self._failing = False
            CHECKPOINT_SECONDS.observe(time.perf_counter() - started)
            self._commits.append(commit)
            if held:
                _log.warning("%s, %d events, is held back: %s", name, manifest["events"], held)
            self._publish(name, snapshot, alarms)

        self._after_copy = work
        self._note_pause()

    def take_failed(self) -> list[Alarm] | None:
        """Return the alarms of checkpoints that could not be written since the last call; None if none failed.

        Nothing of them was published or committed: the next one has to be taken in their place.
        """
        failed, self._failed = self._failed, None
        return failed

    def _note_failure(self, error: OSError, alarms: list[Alarm]) -> None:
        text = (
            f"no checkpoint can be written in {self._store.folder}: {error.strerror or error}; make room there, or "
            "give this user the right to write"
        )
        CHECKPOINTS_FAILED.inc()
        level = logging.DEBUG if self._failing else logging.ERROR
        _log.log(level, "%s. Training goes on; it is tried again every trainer.snapshot_interval", text)
        self._failing = True
        self._notify(text)
        self._failed = [*(self._failed or ()), *alarms]

    def advance(self) -> None:
        """Copy another slice and commit what is durable; called between steps by the thread that owns the log."""
        self._copy(_SLICE_SECONDS)
        if self._running is not None and self._running.done():
            self._running.result()
            self._running = None
        while self._commits:
            failpoint("commit")
            self._commits.pop(0)()
            failpoint("commit")

    def wait(self) -> None:
        """Wait for the checkpoint in progress and commit it; re-raises its error."""
        self._copy(float("inf"))
        if self._running is not None:
            self._running.result()
        self.advance()

    def close(self) -> None:
        """Finish the checkpoint in progress and stop the thread."""
        self.wait()
        self._pool.shutdown()

    def _copy(self, seconds: float) -> None:
        if self._copy_of_learner is None:
            return
        if self._after_copy is not None:
            self._copy_of_learner.advance(seconds)
            if self._copy_of_learner.complete:
                self._running, self._after_copy = self._pool.submit(self._after_copy), None
        self._note_pause()

    def _note_pause(self) -> None:
        if self._copy_of_learner is not None and self._copy_of_learner.spent:
            self._on_pause(self._copy_of_learner.spent)
            self._copy_of_learner.spent = 0.0

    def _write(self, copy: LearnerCopy, values: Mapping[str, Any], manifest: Mapping[str, Any]) -> str:
        """Write the copy; runs in the thread."""
        previous, self._previous = self._previous, ""  # after a failure the next checkpoint is a full one
        resolved = {name: value() if callable(value) else value for name, value in values.items()}
        rows = TableRows(copy.tables, previous)
        self._previous = self._store.write(
            copy.dense_arrays(), {**resolved, "learner": copy.values}, rows=rows, **manifest
        )
        return self._previous

    def _publish(self, name: str, snapshot: SnapshotManifest | None, alarms: list[Alarm]) -> None:
        """Publish snapshot and alarms of a durable checkpoint; runs in the thread."""
        failpoint("publish")
        if snapshot is not None and self._copy_of_learner is not None:
            tables = [copy.table for copy in self._copy_of_learner.tables]
            encoder = SnapshotEncoder(snapshot, self._copy_of_learner.arrays(), tables).with_checkpoint(name)
            if self._writer.write_snapshot(encoder):
                self._on_published(snapshot.snapshot)
                ids = {"snapshot": snapshot.snapshot, "epoch": snapshot.epoch, "events": snapshot.events}
                _log.info("snapshot %d of %s, %d events", snapshot.snapshot, name, snapshot.events, extra=ids)
        for alarm in alarms:
            self._writer.write_alarm(alarm, 0 if snapshot is None else snapshot.snapshot)
        failpoint("publish")
