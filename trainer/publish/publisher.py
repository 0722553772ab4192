"""Checkpoint first, then everything that depends on it: committed positions, snapshots, alarms.

1. copy the state of a moment between two steps, in slices between the steps that follow; 2. write and fsync it in a
thread; then 3. hand the snapshot out, from that thread, and 4. commit the positions to the log's group, from the
thread that owns the log. Only what is durable is ever published or committed.
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
from hsnn.trainer.metrics import CHECKPOINT_PAUSE, CHECKPOINT_SECONDS
from hsnn.trainer.publish.redis_writer import RedisWriter
from hsnn.trainer.publish.snapshot import SnapshotOrigin, manifest_of
from hsnn.trainer.publish.snapshot_encoder import SnapshotEncoder
from hsnn.trainer.training.learner import Learner

_log = logging.getLogger(__name__)
_SLICE_SECONDS = 0.004
"""Time between two steps that goes into the copy of a moment."""


class Publisher:
    """Takes checkpoints of a learner and publishes them, one at a time.

    Parameters
    ----------
    digest
        Of the configuration, for manifests.
    on_pause
        Told how long training waited for copies, in seconds, since the last call and in one step.
    """

    def __init__(
        self,
        store: CheckpointStore,
        outbox: RedisWriter,
        digest: str,
        on_pause: Callable[[float], None] = CHECKPOINT_PAUSE.observe,
    ) -> None:
        self._store, self._outbox, self._digest, self._on_pause = store, outbox, digest, on_pause
        self._pool = ThreadPoolExecutor(1, "checkpoint")
        self._shadow: LearnerCopy | None = None
        self._since = ""
        self._then: Callable[[], None] | None = None  # to be done once the moment is copied
        self._running: Future[None] | None = None
        self._commits: list[Callable[[], None]] = []

    @property
    def copying(self) -> bool:
        """Whether a moment is being copied: `settle` goes on with it."""
        return self._then is not None

    @property
    def busy(self) -> bool:
        """Whether a checkpoint is being copied or written."""
        return self.copying or (self._running is not None and not self._running.done())

    def continue_from(self, learner: Learner, since: str) -> None:
        """Note that the learner is in the state of the checkpoint `since`: only what changes need be written."""
        self._shadow, self._since = LearnerCopy(learner, known=True), since

    def begin_checkpoint(
        self,
        learner: Learner,
        values: Mapping[str, Any],
        commit: Callable[[], None],
        alarms: list[Alarm],
        held: str = "",
    ) -> None:
        """Begin a checkpoint of now, to be copied, written, committed and published; waits for one that is under way.

        `values` go into the checkpoint beside the learner's own; one that is a function is called in the thread. With a
        reason why the model is `held`, the checkpoint says so and its snapshot is not handed out. Call with all touched
        states already sent.
        """
        self.wait()
        started = time.perf_counter()
        if self._shadow is None or self._shadow.learner is not learner:
            self._shadow, self._since = LearnerCopy(learner), ""
        self._shadow.begin()
        outbox, number = self._outbox, self._outbox.next_snapshot()
        origin = SnapshotOrigin(number, outbox.epoch, "", outbox.state_id, outbox.feed_id, self._digest)
        snapshot = manifest_of(learner, origin) if learner.network.seeded and not held else None
        manifest = {
            "events": learner.events,
            "watermark": learner.watermark,
            "config_digest": self._digest,
            "model": learner.config.model.model_dump(mode="json"),
            "threads": learner.config.threads,
            "held": held,
        }
        write = partial(self._write, self._shadow, values, manifest)

        def work() -> None:
            name = write()
            CHECKPOINT_SECONDS.observe(time.perf_counter() - started)
            self._commits.append(commit)
            if held:
                _log.warning("%s, %d events, is held back: %s", name, manifest["events"], held)
            self._publish(name, snapshot, alarms)

        self._then = work
        self._note_pause()

    def advance(self) -> None:
        """Copy another slice; commit what has become durable. Called between steps, by the thread that owns the log."""
        self._copy(_SLICE_SECONDS)
        if self._running is not None and self._running.done():
            self._running.result()
            self._running = None
        while self._commits:
            failpoint("commit")
            self._commits.pop(0)()
            failpoint("commit")

    def wait(self) -> None:
        """Wait for the checkpoint under way and commit it; raises what went wrong in it."""
        self._copy(float("inf"))
        if self._running is not None:
            self._running.result()
        self.advance()

    def close(self) -> None:
        """Finish what is under way."""
        self.wait()
        self._pool.shutdown()

    def _copy(self, seconds: float) -> None:
        if self._shadow is None:
            return
        if self._then is not None:
            self._shadow.advance(seconds)
            if self._shadow.complete:
                self._running, self._then = self._pool.submit(self._then), None
        self._note_pause()

    def _note_pause(self) -> None:
        if self._shadow is not None and self._shadow.spent:
            self._on_pause(self._shadow.spent)
            self._shadow.spent = 0.0

    def _write(self, shadow: LearnerCopy, values: Mapping[str, Any], manifest: Mapping[str, Any]) -> str:
        """Write what was copied; in the thread."""
        since, self._since = self._since, ""  # whatever goes wrong, nothing goes on from there
        plain = {name: value() if callable(value) else value for name, value in values.items()}
        rows = TableRows(shadow.tables, since)
        values = {**plain, "learner": shadow.values}
        self._since = self._store.write(shadow.dense_arrays(), values, rows=rows, **manifest)
        return self._since

    def _publish(self, name: str, snapshot: SnapshotManifest | None, alarms: list[Alarm]) -> None:
        """Hand out what is durable; in the thread."""
        failpoint("publish")
        if snapshot is not None and self._shadow is not None:
            tables = [copy.table for copy in self._shadow.tables]
            encoder = SnapshotEncoder(snapshot, self._shadow.arrays(), tables).of_checkpoint(name)
            self._outbox.write_snapshot(encoder)
            _log.info("snapshot %d of %s, %d events", snapshot.snapshot, name, snapshot.events)
        for alarm in alarms:
            self._outbox.write_alarm(alarm, 0 if snapshot is None else snapshot.snapshot)
        failpoint("publish")
