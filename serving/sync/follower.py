"""Mirror follower: the thread that keeps a mirror up to date with the index and the state stream in Redis."""

from __future__ import annotations

import logging
import time
from collections import OrderedDict
from collections.abc import Sequence
from threading import Event, Thread

import msgspec
from redis.exceptions import RedisError
from safetensors import SafetensorError

from hsnn.indexer.errors import VersionNotFoundError
from hsnn.indexer.store.delta import Delta
from hsnn.indexer.store.delta_order import in_write_order
from hsnn.indexer.store.reader import IndexReader
from hsnn.indexer.store.streams import STREAM_START, StreamEntry, last_id, read_entries, scan_entries
from hsnn.monitoring.health import Health
from hsnn.serving.metrics import ServingMetrics
from hsnn.serving.mirror.mirror import Mirror
from hsnn.serving.sync.index_gauges import IndexGauges
from hsnn.serving.sync.preload import VersionPreloader
from hsnn.serving.sync.warm_up import warm_up
from hsnn.streaming.redis.client import Redis, identity
from hsnn.streaming.redis.clock import ClockWatch
from hsnn.streaming.retry import LoopBackoff
from hsnn.trainer.features.mass_expiry import QuietClock
from hsnn.trainer.messages import StateDelta

_log = logging.getLogger(__name__)

# Milliseconds that a read waits for entries: bounds how late `stop` is noticed; an entry ends the wait at once.
_BLOCK_MS = 500

# Seconds between two looks for the first version: short, because the server is not ready before.
_NO_VERSION_PAUSE = 0.1

# Seconds that a busy stream is read before the server's identity and the current version are checked again.
_RECHECK_INTERVAL = 1.0

# Items whose freshness is remembered; the oldest is forgotten first, so that memory stays bounded.
_FRESHNESS_ITEMS = 100_000

LOOP = "follower"
"""Name of the thread, and of its liveness check."""

VERSION, WARM = "version", "warm_up"
"""Conditions of the server's readiness: a version is loaded, and warm-up requests have been answered."""


_COMPILING = "kernels are loaded from disk, or compiled at the first start of an installation, which takes a minute"
"""Why the server is not ready while it warms up."""


class MirrorFollower(Thread):
    """Loads the current version, then applies its deltas and the state stream; preloads announced versions.

    If the Redis server is another process than before (restarted, failed over, emptied), everything is loaded again
    from the current version; until then requests are answered from the old contents of the mirror.

    Parameters
    ----------
    redis
        A client whose values are bytes.
    mirror
        Updated by this thread; no other may write to it.
    health
        Receives a heartbeat for every poll, and readiness.
    quiet
        Tells for how long the stream has been quiet.
    gauges
        Show the index; None: as the server's own.
    prefix
        First part of the names of its keys; None: that of this process.

    Attributes
    ----------
    freshness : item id -> float
        Seconds from sending to retrievable of items that arrived while this thread ran; the last 100,000.
    """

    def __init__(
        self,
        redis: Redis,
        mirror: Mirror,
        metrics: ServingMetrics,
        health: Health,
        quiet: QuietClock | None = None,
        *,
        gauges: IndexGauges | None = None,
        prefix: str | None = None,
    ) -> None:
        super().__init__(name=LOOP if prefix is None else f"{LOOP} of {prefix}", daemon=True)
        self._reader, self._mirror = IndexReader(redis, prefix), mirror
        self._metrics, self._gauges, self._health = metrics, gauges or IndexGauges(metrics), health
        self._clock = ClockWatch(redis, metrics.clock_ahead.set)
        self._preload, self._announced = VersionPreloader(redis, prefix), STREAM_START
        self._version: int | None = None
        self._server = ""
        self._quiet, self._ends_held = quiet or QuietClock(), False
        self._state_id = STREAM_START
        self._delta_ids: dict[str, str] = {}  # last entry read, by delta stream (one per shard)
        self._stopped = Event()
        self.freshness: OrderedDict[str, float] = OrderedDict()

    def run(self) -> None:
        """Poll until `stop` is called."""
        backoff = LoopBackoff(self._stopped)
        while not self._stopped.is_set():
            try:
                self._poll()
                backoff.reset()
            except RedisError as error:
                _log.warning(
                    "%s: Redis does not answer (%s); answers go on from version %s", self.name, error, self._version
                )
                self._server = ""
                self._obey_ends()
                backoff.pause()
            except VersionNotFoundError as error:
                _log.warning("%s: %s", self.name, error)
                backoff.pause()
            except Exception:  # no heartbeat: if this repeats, the liveness check fails
                _log.exception("%s failed; retrying", self.name)
                self._server = ""
                backoff.pause()
                continue
            self._health.beat(LOOP)

    def stop(self) -> None:
        """Stop after the current poll, and wait for it."""
        self._stopped.set()
        if self.is_alive():
            self.join(timeout=10)

    def _poll(self) -> None:
        self._clock.check()
        if not self._same_server():
            self._mirror.reset()
            self._preload.discard()
            self._announced = last_id(self._reader.redis, self._reader.key("announced"))
            self._version = None
        current = self._reader.current()
        if current is None:
            self._stopped.wait(_NO_VERSION_PAUSE)
            return
        if current != self._version:
            self._load(current)
        self._quiet.note(self._reader.arrival())
        self._obey_ends()
        until = time.monotonic() + _RECHECK_INTERVAL
        while not self._stopped.is_set() and time.monotonic() < until:
            entries = self._read()
            if not entries or self._apply_entries(entries):
                return

    def _obey_ends(self) -> None:
        """Go on with announced ends where no events come, or nobody says whether any do."""
        held = self._mirror.obey_ends(self._quiet)
        self._gauges.show_held(0 if held is None else held.leaving)
        if held is not None and not self._ends_held:
            _log.error("mass_expiry: %d of %d items end at once while no event comes; they are held", *held)
        self._ends_held = held is not None

    def _same_server(self) -> bool:
        server = identity(self._reader.redis)
        same = server == self._server
        self._server = server
        return same

    def _load(self, number: int) -> None:
        version = self._preload.pop(number) or self._reader.load_version(number)
        start = {part.delta_stream: STREAM_START for part in self._reader.shards(number)}
        entries = in_write_order(self._reader.redis, list(self._reader.delta_entries(number)), start)
        deltas = [delta for delta in map(self._decode_delta, entries) if delta is not None]
        first = not self._mirror.loaded
        new_items = [delta for delta in deltas if _is_new_item(delta) and not self._mirror.is_indexed(delta.item)]
        if self._mirror.load_version(version, deltas):
            self._state_id = version.manifest.state_id
            self._metrics.loads.labels("everything").inc()
        else:
            self._metrics.loads.labels("index").inc()
        self._version = number
        self._delta_ids = start | {entry.stream: entry.id for entry in entries}
        for delta in () if first else new_items:
            self._record_freshness(delta)
        manifest = version.manifest
        ids = {"version": number, "snapshot": manifest.snapshot, "epoch": manifest.epoch, "events": manifest.events}
        loaded = f"{self.name}: version {number}"
        _log.info("%s (%d items, epoch %d)", loaded, manifest.items, manifest.epoch, extra=ids)
        self._health.set_ready(VERSION)
        show_mirror(self._mirror, self._gauges)
        if first:
            self._catch_up()
            warm_up_first(self._mirror, self._health, self.name)

    def _catch_up(self) -> None:
        for entry in scan_entries(self._reader.redis, self._reader.key("state"), self._state_id):
            self._apply_entry(entry)

    def _read(self) -> list[StreamEntry]:
        other_ids = {self._reader.key("state"): self._state_id, self._reader.key("announced"): self._announced}
        entries = read_entries(self._reader.redis, other_ids | self._delta_ids, block_ms=_BLOCK_MS)
        deltas = [entry for entry in entries if entry.stream not in other_ids]
        ordered = in_write_order(self._reader.redis, deltas, self._delta_ids)
        return [entry for entry in entries if entry.stream in other_ids] + ordered

    def _apply_entries(self, entries: Sequence[StreamEntry]) -> bool:
        """Apply entries; True if the version was superseded: its successor is loaded with what comes after."""
        deltas: list[Delta] = []
        for entry in entries:
            if entry.stream not in self._delta_ids:
                self._apply_entry(entry)
                continue
            self._delta_ids[entry.stream] = entry.id
            delta = self._decode_delta(entry)
            if delta is not None and delta.op == "superseded":
                self._apply_deltas(deltas)
                return True
            deltas += [] if delta is None else [delta]
        self._apply_deltas(deltas)
        return False

    def _apply_entry(self, entry: StreamEntry) -> None:
        if entry.stream == self._reader.key("announced"):
            self._announced = entry.id
            self._preload.start(int(entry.fields[b"n"]))
        else:
            self._state_id = entry.id
            self._apply_state(entry)

    def _apply_deltas(self, deltas: Sequence[Delta]) -> None:
        arriving = {delta.item for delta in deltas if _is_new_item(delta) and not self._mirror.is_indexed(delta.item)}
        for delta in self._mirror.apply_deltas(deltas):
            self._metrics.deltas.labels(delta.op).inc()
            if _is_new_item(delta) and delta.item in arriving:
                arriving.discard(delta.item)
                self._record_freshness(delta)

    def _apply_state(self, entry: StreamEntry) -> None:
        try:
            delta = StateDelta.decode(entry.fields[b"d"])
        except (msgspec.MsgspecError, SafetensorError, KeyError, TypeError, ValueError) as error:
            self._skip(entry, error)
            return
        if self._mirror.apply_state(delta):
            self._metrics.deltas.labels("state").inc()
            show_mirror(self._mirror, self._gauges)

    def _decode_delta(self, entry: StreamEntry) -> Delta | None:
        try:
            return Delta.decode(entry.fields[b"d"])
        except (msgspec.MsgspecError, KeyError) as error:
            self._skip(entry, error)
            return None

    def _skip(self, entry: StreamEntry, error: Exception) -> None:
        self._metrics.unreadable.inc()
        _log.error("entry %s of %s cannot be read and is passed over: %s", entry.id, entry.stream, error)

    def _record_freshness(self, delta: Delta) -> None:
        seconds = max(time.time() - delta.sent_at / 1000, 0.0)
        self._gauges.observe_freshness(seconds)
        self.freshness[delta.item] = seconds
        if len(self.freshness) > _FRESHNESS_ITEMS:
            self.freshness.popitem(last=False)


def show_mirror(mirror: Mirror, gauges: IndexGauges) -> None:
    """Set the gauges that say what a mirror holds."""
    with mirror.reading():
        state = mirror.state
        gauges.show_version(state.index.version, state.index.config.leaves)
        gauges.show_state(state.watermark, state.corpus, state.index_share)


def warm_up_first(mirror: Mirror, health: Health, name: str = LOOP) -> None:
    """Answer requests before the first client's; no heartbeat is expected, as a restart would begin anew."""
    began = time.monotonic()
    health.set_waiting(WARM, _COMPILING)
    try:
        warm_up(mirror)
    finally:
        health.set_waiting(WARM, None)
    _log.info("%s: warmed up in %.1f s", name, time.monotonic() - began)
    health.set_ready(WARM)


def _is_new_item(delta: Delta) -> bool:
    return delta.op == "insert" and delta.reason == "new" and delta.sent_at > 0
