"""Leader: owns the index while this process holds the lease; all changes to it are made here."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Sequence
from threading import Event, Lock, RLock

import numpy as np
from numpy.typing import NDArray
from redis.exceptions import RedisError

from hsnn.indexer import metrics
from hsnn.indexer.assign.catalogue import ItemCatalogue, Rows
from hsnn.indexer.assign.catalogue_sync import apply_entry, catch_up
from hsnn.indexer.assign.live_index import LiveIndex
from hsnn.indexer.build.builder import Builder
from hsnn.indexer.errors import RollbackError, VersionNotFoundError
from hsnn.indexer.job_context import check_deadline
from hsnn.indexer.store.delta import Delta
from hsnn.indexer.store.publish_hold import new_hold
from hsnn.indexer.store.streams import STREAM_START, StreamEntry
from hsnn.indexer.store.version import VersionManifest
from hsnn.indexer.store.writer import IndexStore
from hsnn.monitoring.alarms import Alarm
from hsnn.trainer.features.mass_expiry import ALARM, Held, QuietClock

_log = logging.getLogger(__name__)

# Seconds that readers get to load a version, at most: a new version must not wait for readers that are stuck.
_LONGEST_WAIT = 30.0

# Seconds between two checks whether the wait is to end.
_WAIT_STEP = 0.1

RowSelector = Callable[[ItemCatalogue, LiveIndex], Rows]
"""Selects the indexed rows (n,) to check."""


class Leader:
    """Catalogue and live index of the current version; safe to use from several threads.

    Parameters
    ----------
    store
        With the lease.
    builder
        Makes versions.
    quiet
        Tells for how long the stream has been quiet.

    Attributes
    ----------
    stopping
        Set when this process is to end: ends all waiting.
    """

    def __init__(self, store: IndexStore, builder: Builder, quiet: QuietClock | None = None) -> None:
        self.store = store
        self.stopping = Event()
        self._builder = builder
        self._lock = RLock()
        self._building = Lock()
        self._uncertain = self._ends_held = False
        self._quiet = quiet or QuietClock()
        self.catalogue: ItemCatalogue | None = None
        self.live: LiveIndex | None = None

    def resume(self) -> None:
        """Load the current version, if there is one, as the leader before left it, and bring it up to date."""
        number = self.store.current()
        if number is None:
            return
        try:
            version = self.store.load_version(number, vectors=False)
        except VersionNotFoundError as error:
            _log.error("the current version cannot be loaded, the next snapshot replaces it: %s", error)
            return
        live = self._builder.restore_live_index(version, self._deltas(number))
        catalogue = ItemCatalogue(version.snapshot)
        catch_up(catalogue, self.store)
        catalogue.mark_indexed_announced(live.nodes_of_rows(len(catalogue)))
        with self._lock:
            self.catalogue, self.live = catalogue, live
            self.reconcile()
        self._show()

    def read_positions(self) -> tuple[ItemCatalogue | None, dict[str, str]]:
        """Return the positions to read the trainer's streams from, and the catalogue that they belong to."""
        with self._lock:
            catalogue = self.catalogue
            if catalogue is None:
                return None, {}
            return catalogue, {self.store.key("feed"): catalogue.feed_id, self.store.key("state"): catalogue.state_id}

    def apply_entries(self, read_for: ItemCatalogue | None, entries: Iterable[StreamEntry]) -> list[Delta]:
        """Apply entries that were read at the `read_positions` of `read_for`, and write the deltas that follow.

        Entries read for a catalogue that a flip has replaced meanwhile are ignored: the new one includes them.
        """
        with self._lock:
            if read_for is None or read_for is not self.catalogue:
                return []
            for entry in entries:
                apply_entry(read_for, self.store, entry)
            return self.reconcile()

    def reconcile(self) -> list[Delta]:
        """Write the deltas that bring the index in line with the catalogue: all arrivals and departures come from here.

        Raises
        ------
        FencedError
            The lease is lost.
        """
        return self._write_planned(lambda catalogue, live: live.pending_deltas(catalogue))

    def obey_ends(self) -> list[Delta]:
        """Write the deltas for ends and beginnings that a quiet stream has passed since its last event.

        Raises
        ------
        FencedError
            The lease is lost.
        """
        self._quiet.note(self.store.arrival())
        with self._lock:
            catalogue = self.catalogue
            if catalogue is None:
                return []
            changes = catalogue.obey_ends(self._quiet.elapsed_ms(catalogue.watermark))
            self._show_held(catalogue.quiet_ends.held)
            return self.reconcile() if changes else []

    def _show_held(self, held: Held | None) -> None:
        metrics.EXPIRY_HELD.set(0 if held is None else held.leaving)
        if held is not None and not self._ends_held:
            _log.error(
                "mass_expiry: %d of %d items end at once while no event comes; they are held until one does, or until "
                "somebody confirms it (`hsnn drift report` says how)",
                *held,
            )
        self._ends_held = held is not None

    def own_alarms(self) -> list[Alarm]:
        """Return the alarms that this leader raises itself: a mass expiry that is held while no event comes."""
        with self._lock:
            catalogue = self.catalogue
            held = None if catalogue is None else catalogue.quiet_ends.held
            if catalogue is None or held is None:
                return []
            name = f"{ALARM}:quiet:{catalogue.quiet_ends.now}"  # the next leader, which holds the same, says the same
            text = (
                f"{held.leaving} of {held.alive} items end at once while no event comes; they are held until one does, "
                f"or until `hsnn drift confirm {name}` lets them leave"
            )
            share, most = held.leaving / held.alive, catalogue.mass_expiry_share
            return [Alarm(id=name, kind=ALARM, ts=catalogue.watermark, value=share, threshold=most, detail=text)]

    def node_sizes(self) -> tuple[int, NDArray[np.int64]] | None:
        """Return the version in use and its items per node, (K,); None before the first version."""
        with self._lock:
            return None if self.live is None else (self.live.number, self.live.node_sizes())

    @property
    def watermark(self) -> int:
        """The watermark that this leader knows, epoch ms of event time; 0 before the first version."""
        with self._lock:
            return 0 if self.catalogue is None else self.catalogue.watermark

    def sweep(self, select: RowSelector) -> list[Delta]:
        """Move items that `select` returns to a nearer node, where there is one with room.

        Raises
        ------
        FencedError
            The lease is lost.
        """

        def plan(catalogue: ItemCatalogue, live: LiveIndex) -> list[Delta]:
            rows = select(catalogue, live)
            deltas = live.moves_to_nearer(catalogue, rows)
            metrics.SWEPT.inc(len(rows))
            return deltas

        return self._write_planned(plan)

    def publish(self, snapshot: int, reason: str) -> VersionManifest:
        """Make a version from a snapshot and flip readers to it; one at a time.

        Before the flip, readers get as much time to load it as making it took, which is about the same work. A reader
        that still loads after the flip learns of no arrivals meanwhile.

        Raises
        ------
        SnapshotNotFoundError
            There is no such snapshot.
        FencedError, VersionChangedError
            Another process leads now.
        JobTimeoutError
            The job's time is over; nothing became visible.
        """
        with self._building:
            started = time.monotonic()
            draft = self._builder.build_draft(snapshot, reason, self._nodes_of)
            if self.live is not None:
                self.store.announce(draft.manifest.version)
                self._wait(min(time.monotonic() - started, _LONGEST_WAIT))
            with self._lock:
                if self.catalogue is not None:
                    draft.catalogue.continue_quiet_ends(self.catalogue)
            draft.advance(self._live_of_epoch(draft.catalogue.epoch))
            with self._lock:
                new_to_readers = draft.publish(self._live_of_epoch(draft.catalogue.epoch))
                self.catalogue, self.live = draft.catalogue, draft.live
                self._count(new_to_readers)
        manifest = draft.manifest
        metrics.set_refresh_gauges(manifest)
        source, moved = f"snapshot {snapshot} ({reason})", f"{manifest.moved} of {manifest.common} items moved"
        ids = {"version": manifest.version, "snapshot": snapshot, "epoch": manifest.epoch, "events": manifest.events}
        _log.info("version %d from %s, %s", manifest.version, source, moved, extra=ids)
        return manifest

    def roll_back(self, reason: str) -> int:
        """Flip readers back to the newest older version of the same epoch and hold publishing; return its number.

        Raises
        ------
        RollbackError
            There is no such version.
        FencedError, VersionChangedError
            Another process leads now.
        """
        with self._lock:
            current, store = self.store.current(), self.store
            older = [number for number in store.versions() if current is not None and number < current]
            epoch = None if current is None else store.manifest(current).epoch
            number = next((each for each in sorted(older, reverse=True) if store.manifest(each).epoch == epoch), None)
            if number is None:
                raise RollbackError(f"there is no older version of the same epoch than {current} to go back to")
            store.rollback(number, new_hold(reason))
            self.resume()
        _log.warning("rolled back from version %s to %d, and publishing is held: %s", current, number, reason)
        return number

    def remove_unpublished(self) -> list[int]:
        """Remove versions that a publisher that died has left unfinished."""
        with self._building:
            numbers = self.store.unpublished_versions()
            for number in numbers:
                self.store.drop_version(number)
        return numbers

    def _wait(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0 and not self.stopping.wait(min(left, _WAIT_STEP)):
            check_deadline("while readers load a version")

    def _live_of_epoch(self, epoch: int) -> LiveIndex | None:
        """Return the live index if its rows are those of `epoch`."""
        with self._lock:
            same_epoch = self.catalogue is not None and self.catalogue.epoch == epoch
            return self.live if same_epoch else None

    def _nodes_of(self, epoch: int) -> NDArray[np.int32] | None:
        """Return the nodes (rows,) of the items now; None if rows of `epoch` mean other items."""
        with self._lock:
            live = self._live_of_epoch(epoch)
            return None if live is None else live.nodes.copy()

    def _write_planned(self, plan: Callable[[ItemCatalogue, LiveIndex], list[Delta]]) -> list[Delta]:
        """Write the deltas of `plan`, and return them; none before the first version."""
        with self._lock:
            self._reload_if_uncertain()
            if self.catalogue is None or self.live is None:
                return []
            deltas = plan(self.catalogue, self.live)
            if deltas:
                self._write(deltas, self.catalogue, self.live)
            return deltas

    def _write(self, deltas: Sequence[Delta], catalogue: ItemCatalogue, live: LiveIndex) -> None:
        try:
            self.store.apply(live.number, deltas)
        except RedisError:
            self._uncertain = True
            raise
        metrics.count_moves(delta.reason for delta in deltas if _moves(delta, live))
        live.apply(deltas)
        catalogue.mark_announced([delta.row for delta in deltas])
        self._count(deltas)

    def _reload_if_uncertain(self) -> None:
        """Load the index again if a write failed: some of it may have been done, and only Redis knows."""
        if self._uncertain:
            self._uncertain = False
            try:
                if self.live is not None:
                    self.store.invalidate_inflight_writes(self.live.number)
                self.resume()
            except RedisError:
                self._uncertain = True
                raise

    def _deltas(self, number: int) -> list[Delta]:
        deltas: list[Delta] = []
        after = STREAM_START
        while page := self.store.read_deltas(number, after):
            after = page[-1][0]
            deltas += [delta for _, delta in page]
        return deltas

    def _count(self, deltas: Sequence[Delta]) -> None:
        metrics.INSERTED.inc(sum(delta.op == "insert" for delta in deltas))
        metrics.EXPIRED.inc(sum(delta.op == "delete" for delta in deltas))
        self._show()

    def _show(self) -> None:
        if self.live is not None:
            metrics.set_index_gauges(self.live.number, self.live.node_sizes())


def _moves(delta: Delta, live: LiveIndex) -> bool:
    return delta.op == "move" and live.node_of(delta.row) != delta.node
