"""The scheduler's jobs: each may run at any time, any number of times, and finds out by itself what is to be done."""

from __future__ import annotations

import logging
import time
from threading import Lock

from hsnn.indexer.assign.rolling_sweep import Sweep
from hsnn.indexer.build.leader import Leader
from hsnn.indexer.config import IndexerConfig
from hsnn.indexer.deadline import safe_point
from hsnn.indexer.errors import HeldError, SnapshotGoneError, StoppingError
from hsnn.indexer.store import streams
from hsnn.indexer.store.publish_hold import standing_hold
from hsnn.indexer.store.version import VersionManifest
from hsnn.indexer.verify.verify import VerifyReport, verify
from hsnn.monitoring.audit import AuditTrail
from hsnn.trainer.messages import SnapshotManifest

_log = logging.getLogger(__name__)
_PATIENCE_SWEEPS = 2  # what is due or unassigned for so long was forgotten


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
        self._sweep = Sweep(config.sweep_rate, config.sweep_interval)
        self._publishing = Lock()
        self._stopping = leader.stopping

    def stop(self) -> None:
        """Wait for nothing any more."""
        self._stopping.set()

    def refresh(self) -> VersionManifest | None:
        """Publish the newest snapshot unless a version was made from it or a later one; those in between are skipped.

        Returns
        -------
        VersionManifest or None
            The newest version, made now or before; None as long as there is no snapshot.

        Raises
        ------
        HeldError
            There is a newer snapshot, and a person holds publishing.
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
        safe_point("before deltas are written")
        return len(self._leader.settle())

    def sweep(self) -> int:
        """Look at the next items of the rolling sweep; return how many went to a nearer node."""
        safe_point("before deltas are written")
        return len(self._leader.sweep(self._sweep.choose))

    def clean(self) -> list[int]:
        """Remove old versions, snapshots and stream entries, and what dead publishers left; return versions removed."""
        removed = self._leader.remove_half_built()
        current, published = self._store.current(), self._store.versions()
        for number in published[: -self._config.versions_kept]:
            if number != current:
                safe_point("between two removals")
                self._store.drop_version(number)
                removed.append(number)
        self._drop_snapshots()
        self._store.trim_sources()
        return removed

    def verify(self) -> VerifyReport | None:
        """Verify the current version; what is wrong goes to the audit trail."""
        number = self._store.current()
        if number is None:
            return None
        report = verify(self._store, number, _PATIENCE_SWEEPS * self._config.item_sweep, self._await_settling)
        if not report.clean:
            _log.error("version %d is damaged, `hsnn index verify --repair` mends it: %s", number, report.counts)
            self._audit.record("verify", outcome="failed", version=number, counts=report.counts)
        return report

    def _await_settling(self, seconds: float) -> None:
        """Give the follower time to read, and wait for a flip that is under way."""
        self._stopping.wait(seconds)
        self._leader.settle()

    def _published(self, reason: str) -> VersionManifest | None:
        with self._publishing:
            held = standing_hold(self._store)
            newest, published = self._store.newest_snapshot(), self._store.newest_published()
            if newest is None or (published is not None and _order(published) >= _order(newest)):
                return published
            if held is not None:
                raise HeldError(f"snapshot {newest.snapshot} waits: publishing is held ({held.reason})")
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
            safe_point("while waiting for a snapshot")
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
