"""The scheduler's jobs: each may run at any time, any number of times, and finds out by itself what is to be done."""

from __future__ import annotations

import logging
import time
from threading import Event, Lock

from indexer import streams
from indexer.config import IndexerConfig
from indexer.errors import SnapshotGoneError, StoppingError
from indexer.leader import Leader
from indexer.verify import VerifyReport, verify
from indexer.version import VersionManifest
from monitoring.audit import AuditTrail
from trainer.wire import SnapshotManifest

_log = logging.getLogger(__name__)


class Jobs:
    """What keeps the index of a leader up to date.

    Parameters
    ----------
    leader
        Whose index.
    config
        How much is kept, how long is waited.
    audit
        Told of what a person should see.
    """

    def __init__(self, leader: Leader, config: IndexerConfig, audit: AuditTrail) -> None:
        self._leader = leader
        self._store = leader.store
        self._config = config
        self._audit = audit
        self._publishing = Lock()
        self._stopping = Event()

    def stop(self) -> None:
        """Wait for nothing any more."""
        self._stopping.set()

    def refresh(self) -> VersionManifest | None:
        """Publish the newest snapshot unless a version was made from it or a later one; those in between are skipped.

        Returns
        -------
        VersionManifest or None
            The newest version, made now or before; None as long as there is no snapshot.
        """
        return self._published("snapshot")

    def refresh_for(self, named: int | None, reason: str) -> VersionManifest | None:
        """`refresh`, once snapshot `named` or a later one is there.

        Raises
        ------
        SnapshotGoneError
            It did not come within the configured patience.
        StoppingError
            `stop` was called before it came.
        """
        if named is not None:
            self._await_snapshot(named)
        return self._published(reason)

    def settle(self) -> int:
        """Assign what is left unassigned and let go what is due; return how many items that were."""
        return len(self._leader.settle())

    def clean(self) -> list[int]:
        """Remove old versions, snapshots and stream entries, and what dead publishers left; return versions removed."""
        removed = self._leader.remove_half_built()
        current, published = self._store.current(), self._store.versions()
        for number in published[: -self._config.versions_kept]:
            if number != current:
                self._store.drop_version(number)
                removed.append(number)
        self._drop_snapshots()
        self._store.trim_sources()
        return removed

    def verify(self) -> VerifyReport | None:
        """Compare base and deltas of the current version with its item map; a difference goes to the audit trail."""
        number = self._store.current()
        if number is None:
            return None
        report = verify(self._store, number)
        if not report.clean:
            counts = {"missing": len(report.missing), "extra": len(report.extra), "misplaced": len(report.misplaced)}
            _log.error("version %d: base and deltas differ from the item map: %s", number, counts)
            self._audit.record("verify", outcome="failed", version=number, counts=counts)
        return report

    def _published(self, reason: str) -> VersionManifest | None:
        with self._publishing:
            newest, published = self._store.newest_snapshot(), self._store.newest_published()
            if newest is None or (published is not None and _order(published) >= _order(newest)):
                return published
            return self._leader.publish(newest.snapshot, "first" if published is None else reason)

    def _await_snapshot(self, named: int) -> None:
        deadline = time.monotonic() + self._config.alarm_patience
        announced = self._store.key("snapshots")
        while True:
            seen = streams.last_id(self._store.redis, announced)
            newest = self._store.newest_snapshot()
            if newest is not None and newest.snapshot >= named:
                return
            if self._stopping.is_set():
                raise StoppingError(f"snapshot {named} is no longer waited for")
            left = deadline - time.monotonic()
            if left <= 0:
                raise SnapshotGoneError(f"snapshot {named} did not appear within {self._config.alarm_patience:g} s")
            streams.read(self._store.redis, {announced: seen}, block_ms=max(1, round(1000 * min(left, 1.0))))

    def _drop_snapshots(self) -> None:
        numbers = self._store.snapshots()
        for number in numbers[: -self._config.snapshots_kept]:
            self._store.drop_snapshot(number)
        if numbers:
            self._store.forget_announcements(numbers[-self._config.snapshots_kept :][0])


def _order(manifest: SnapshotManifest | VersionManifest) -> tuple[int, int]:
    return manifest.epoch, manifest.snapshot
