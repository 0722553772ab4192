"""Jobs that keep the index up to date: each may run at any time and finds out by itself what is to be done."""

from __future__ import annotations

import logging
import time
from threading import Lock

from hsnn.indexer import metrics
from hsnn.indexer.assign.rolling_sweep import RollingSweep
from hsnn.indexer.build.leader import Leader
from hsnn.indexer.config import IndexerConfig
from hsnn.indexer.errors import (
    PublishHeldError,
    ShutdownError,
    SnapshotNotFoundError,
    VersionNotFoundError,
    VersionRefusedError,
)
from hsnn.indexer.job_context import check_deadline
from hsnn.indexer.store import streams
from hsnn.indexer.store.publish_hold import current_hold
from hsnn.indexer.store.version import VersionManifest
from hsnn.indexer.verify.verify import VerifyReport, verify
from hsnn.monitoring.audit import AuditTrail
from hsnn.trainer.messages import SnapshotManifest

_log = logging.getLogger(__name__)

# Item sweeps after which an item that is still due for expiry or unassigned counts as damage: one may be under way.
_RECHECK_SWEEPS = 2

# Most seconds of one wait for a snapshot's announcement; between two of them the job looks whether it is to stop.
_WAIT_SECONDS = 1.0


class IndexJobs:
    """Jobs that keep the index of a leader up to date.

    Parameters
    ----------
    leader
        Whose index.
    config
        Retention and timeouts.
    audit
        Told of damage.
    """

    def __init__(self, leader: Leader, config: IndexerConfig, audit: AuditTrail) -> None:
        self._leader = leader
        self._store = leader.store
        self._config = config
        self._audit = audit
        self._sweep = RollingSweep(config.sweep_rate, config.sweep_interval)
        self._publishing = Lock()
        self._refused: int | None = None  # the last snapshot that the gate refused
        self._stopping = leader.stopping

    def stop(self) -> None:
        """End all waiting."""
        self._stopping.set()

    def refresh(self) -> VersionManifest | None:
        """Publish the newest snapshot, unless a version was made from it or a later one; older ones are skipped.

        Returns
        -------
        VersionManifest or None
            The newest version, made now or before; None while there is no snapshot.

        Raises
        ------
        PublishHeldError
            There is a newer snapshot, and publishing is held.
        """
        return self._publish_newest("snapshot")

    def refresh_for(self, named: int | None, reason: str) -> VersionManifest | None:
        """Wait for snapshot `named` or a later one, if one is named, and `refresh`.

        Raises
        ------
        SnapshotNotFoundError
            It did not appear within `indexer.alarm_patience`.
        ShutdownError
            `stop` was called before it appeared.
        """
        if named is not None:
            self._await_snapshot(named)
        return self._publish_newest(reason)

    def reconcile(self) -> int:
        """Index items that are unassigned and remove those that are due for expiry; return the number of deltas."""
        check_deadline("before deltas are written")
        return len(self._leader.reconcile())

    def sweep(self) -> int:
        """Check the next items of the rolling sweep; return how many moved to a nearer node."""
        check_deadline("before deltas are written")
        return len(self._leader.sweep(self._sweep.select))

    def clean(self) -> list[int]:
        """Remove old versions, snapshots, stream entries and unpublished versions; return the versions removed."""
        removed = self._leader.remove_unpublished()
        current, published = self._store.current(), self._store.versions()
        for number in published[: -self._config.versions_kept]:
            if number != current:
                check_deadline("between two removals")
                self._store.drop_version(number)
                removed.append(number)
        self._drop_snapshots()
        self._store.drop_unused_chunks()
        self._store.trim_trainer_streams()
        return removed

    def verify(self) -> VerifyReport | None:
        """Verify the current version; damage is recorded in the audit trail. None if it was removed meanwhile."""
        number = self._store.current()
        if number is None:
            return None
        recheck_after = _RECHECK_SWEEPS * self._config.item_sweep
        try:
            report = verify(self._store, number, recheck_after, self._wait_and_reconcile)
        except VersionNotFoundError:
            _log.info("version %d was removed while it was verified", number)
            return None
        if not report.clean:
            _log.error("version %d is damaged, `hsnn index verify --repair` repairs it: %s", number, report.counts)
            self._audit.record("verify", outcome="failed", version=number, counts=report.counts)
        return report

    def _wait_and_reconcile(self, seconds: float) -> None:
        """Give the follower time to read, and wait for a flip that is under way."""
        self._stopping.wait(seconds)
        self._leader.reconcile()

    def _publish_newest(self, reason: str) -> VersionManifest | None:
        with self._publishing:
            hold = current_hold(self._store)
            newest, published = self._store.newest_snapshot(), self._store.newest_published()
            if newest is None or (
                published is not None and _publication_order(published) >= _publication_order(newest)
            ):
                return published
            if hold is not None:
                raise PublishHeldError(f"snapshot {newest.snapshot} waits: publishing is held ({hold.reason})")
            if newest.snapshot == self._refused:
                return published
            try:
                return self._leader.publish(newest.snapshot, "first" if published is None else reason)
            except VersionRefusedError as error:
                self._refused = newest.snapshot  # the next snapshot is another one
                metrics.REFUSED.inc()
                _log.error("%s", error)
                self._audit.record("gate", outcome="refused", snapshot=newest.snapshot, reason=str(error))
                return published

    def _await_snapshot(self, named: int) -> None:
        deadline = time.monotonic() + self._config.alarm_patience
        announced = self._store.key("snapshots")
        while True:
            position = streams.last_id(self._store.redis, announced)
            newest = self._store.newest_snapshot()
            if newest is not None and newest.snapshot >= named:
                return
            if self._stopping.is_set():
                raise ShutdownError(f"snapshot {named} is no longer waited for")
            check_deadline("while waiting for a snapshot")
            left = deadline - time.monotonic()
            if left <= 0:
                raise SnapshotNotFoundError(f"snapshot {named} did not appear within {self._config.alarm_patience:g} s")
            streams.read_entries(
                self._store.redis, {announced: position}, block_ms=max(1, round(1000 * min(left, _WAIT_SECONDS)))
            )

    def _drop_snapshots(self) -> None:
        numbers = self._store.snapshots()
        for number in numbers[: -self._config.snapshots_kept]:
            self._store.drop_snapshot(number)
        if numbers:
            self._store.trim_announcements(numbers[-self._config.snapshots_kept :][0])


def _publication_order(manifest: SnapshotManifest | VersionManifest) -> tuple[int, int]:
    return manifest.epoch, manifest.snapshot
