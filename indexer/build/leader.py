"""Leader: the index while this process holds the lease; all changes to it pass through here."""

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
from hsnn.indexer.errors import VersionNotFoundError
from hsnn.indexer.job_context import check_deadline
from hsnn.indexer.store.delta import Delta
from hsnn.indexer.store.streams import STREAM_START, StreamEntry
from hsnn.indexer.store.version import VersionManifest
from hsnn.indexer.store.writer import IndexStore

_log = logging.getLogger(__name__)

_LONGEST_WAIT = 30.0
"""Seconds that readers get to load a version, at most."""

Choose = Callable[[ItemCatalogue, LiveIndex], Rows]
"""Which indexed rows (n,) to look at."""


class Leader:
    """Catalogue and live index of the current version; safe to use from several threads.

    Parameters
    ----------
    store
        With the lease.
    builder
        Makes versions.

    Attributes
    ----------
    stopping
        Set once this process is to end: nothing is waited for any more.
    """

    def __init__(self, store: IndexStore, builder: Builder) -> None:
        self.store = store
        self.stopping = Event()
        self._builder = builder
        self._lock = RLock()
        self._building = Lock()
        self._uncertain = False
        self.catalogue: ItemCatalogue | None = None
        self.live: LiveIndex | None = None

    def resume(self) -> None:
        """Take up the current version, if there is one, where whoever led before left it."""
        number = self.store.current()
        if number is None:
            return
        try:
            version = self.store.load_version(number, vectors=False)
        except VersionNotFoundError as error:
            _log.error("the pointer leads nowhere, the next snapshot repairs it: %s", error)
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
        """Where to read on in the trainer's streams, and the catalogue that these positions belong to."""
        with self._lock:
            catalogue = self.catalogue
            if catalogue is None:
                return None, {}
            return catalogue, {self.store.key("feed"): catalogue.feed_id, self.store.key("state"): catalogue.state_id}

    def apply_entries(self, read_for: ItemCatalogue | None, entries: Iterable[StreamEntry]) -> list[Delta]:
        """Take over entries that were read at the `positions` of `read_for`, and write the deltas that follow.

        Entries read for a catalogue that a flip has replaced meanwhile are left alone: the new one has them.
        """
        with self._lock:
            if read_for is None or read_for is not self.catalogue:
                return []
            for entry in entries:
                apply_entry(read_for, self.store, entry)
            return self.reconcile()

    def reconcile(self) -> list[Delta]:
        """Write the deltas that bring the index in line with the catalogue: the one step behind all arrivals and exits.

        Raises
        ------
        FencedError
            The lease is lost.
        """
        return self._write_planned(lambda catalogue, live: live.pending_deltas(catalogue))

    def node_sizes(self) -> tuple[int, NDArray[np.int64]] | None:
        """Version in use and items per node of it now, (K,); None before the first one."""
        with self._lock:
            return None if self.live is None else (self.live.number, self.live.node_sizes())

    @property
    def watermark(self) -> int:
        """Event time as far as this leader knows, epoch ms; 0 before the first version."""
        with self._lock:
            return 0 if self.catalogue is None else self.catalogue.watermark

    def sweep(self, choose: Choose) -> list[Delta]:
        """Take those of the items that `choose` names to a nearer node that have one with room.

        Raises
        ------
        FencedError
            The lease is lost.
        """

        def nearer(catalogue: ItemCatalogue, live: LiveIndex) -> list[Delta]:
            rows = choose(catalogue, live)
            deltas = live.moves_to_nearer(catalogue, rows)
            metrics.SWEPT.inc(len(rows))
            return deltas

        return self._write_planned(nearer)

    def publish(self, snapshot: int, reason: str) -> VersionManifest:
        """Make a version out of a snapshot and flip readers to it; one at a time.

        Before the flip readers get as much time to load it as making it took: theirs is about the same work, and who
        has to load first is not told of arrivals meanwhile.

        Raises
        ------
        SnapshotNotFoundError
            There is no such snapshot.
        FencedError, VersionChangedError
            Somebody else leads now.
        JobTimeoutError
            The job's time is over; nothing became visible.
        """
        with self._building:
            began = time.monotonic()
            draft = self._builder.build_draft(snapshot, reason, self._nodes_of)
            if self.live is not None:
                self.store.announce(draft.manifest.version)
                self._wait(min(time.monotonic() - began, _LONGEST_WAIT))
            draft.advance(self._live_of_epoch(draft.catalogue.epoch))
            with self._lock:
                news = draft.publish(self._live_of_epoch(draft.catalogue.epoch))
                self.catalogue, self.live = draft.catalogue, draft.live
                self._count(news)
        manifest = draft.manifest
        metrics.show_refresh(manifest)
        _log.info(
            "version %d from snapshot %d (%s), %d of %d items moved",
            manifest.version,
            snapshot,
            reason,
            manifest.moved,
            manifest.common,
        )
        return manifest

    def remove_unpublished(self) -> list[int]:
        """Remove versions that a dead publisher left unfinished."""
        with self._building:
            found = self.store.unpublished_versions()
            for number in found:
                self.store.drop_version(number)
        return found

    def _wait(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0 and not self.stopping.wait(min(left, 0.1)):
            check_deadline("while readers load a version")

    def _live_of_epoch(self, epoch: int) -> LiveIndex | None:
        with self._lock:
            same = self.catalogue is not None and self.catalogue.epoch == epoch
            return self.live if same else None

    def _nodes_of(self, epoch: int) -> NDArray[np.int32] | None:
        """Nodes (rows,) of the items now; None if the rows of `epoch` are others."""
        with self._lock:
            live = self._live_of_epoch(epoch)
            return None if live is None else live.nodes.copy()

    def _write_planned(self, wanted: Callable[[ItemCatalogue, LiveIndex], list[Delta]]) -> list[Delta]:
        """Write the deltas that are `wanted`, and return them; none before the first version."""
        with self._lock:
            self._reload_if_uncertain()
            if self.catalogue is None or self.live is None:
                return []
            deltas = wanted(self.catalogue, self.live)
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
        """Read again what is in the index, if a write failed: some of it may be done, and only Redis knows."""
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
            metrics.show_index(self.live.number, self.live.node_sizes())


def _moves(delta: Delta, live: LiveIndex) -> bool:
    return delta.op == "move" and live.node_of(delta.row) != delta.node
