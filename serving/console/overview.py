"""The page *Now*: what the loop does at this moment, in one document."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from threading import Lock
from typing import Any

import msgspec

from hsnn.indexer.store.lease import default_owner
from hsnn.indexer.store.reader import IndexReader
from hsnn.monitoring.health import Health
from hsnn.serving.console.attention import ServerState, notices
from hsnn.serving.console.progress import LoopState, read_loop_state, recent_recall
from hsnn.serving.console.request_meter import Counts, RequestMeter
from hsnn.serving.console.sampler import retrievable_items
from hsnn.serving.metrics import ServingMetrics
from hsnn.serving.mirror.mirror import Mirror

# Seconds that rates and quantiles of requests are taken over.
_WINDOW = 30.0

# Seconds for which a document is given to all that ask: several open consoles cost as much as one.
_FRESH = 1.0

# Fields of the trainer's progress that are shown as they are.
_STREAM_FIELDS = (
    "trained",
    "impressions",
    "pending",
    "dead_lettered",
    "lag_records",
    "lag_seconds",
    "watermark",
    "loss",
)


class Overview:
    """Makes the document of the page *Now*; thread-safe.

    Parameters
    ----------
    reader
        Of the index.
    mirror, metrics, health
        Of this server.
    clock
        Monotonic clock, seconds.
    """

    def __init__(
        self,
        reader: IndexReader,
        mirror: Mirror,
        metrics: ServingMetrics,
        health: Health,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._reader, self._mirror, self._health, self._clock = reader, mirror, health, clock
        self._meter = RequestMeter(metrics)
        self._readings: deque[Counts] = deque([self._meter.counts(clock())])
        self._made: dict[str, Any] = {}
        self._made_at = float("-inf")
        self._lock = Lock()

    def document(self) -> dict[str, Any]:
        """Make the document, as JSON values.

        Raises
        ------
        redis.RedisError
            Redis does not answer.
        """
        with self._lock:
            now = self._clock()
            if now - self._made_at >= _FRESH:
                self._made = self._make(now)
                self._made_at = now
            return self._made

    def _make(self, now: float) -> dict[str, Any]:
        state = read_loop_state(self._reader)
        counts = self._meter.counts(now)
        self._readings.append(counts)
        while now - self._readings[0].at > _WINDOW and len(self._readings) > 2:
            self._readings.popleft()
        rates = self._meter.rates(self._readings[0], counts)
        items = retrievable_items(self._mirror)
        server = ServerState(self._mirror.version, items, self._health.readiness()[0], rates)
        return {
            "at": time.time_ns() // 1_000_000,
            "attention": msgspec.to_builtins(notices(state, server)),
            "processes": {"trainer": state.trainer, "scheduler": state.scheduler, "server": default_owner()},
            "ready": server.ready,
            "stream": self._stream(state),
            "quality": self._quality(state),
            "index": {"version": server.version, "current": state.current, "items": items},
            "requests": rates._asdict(),
        }

    def _stream(self, state: LoopState) -> dict[str, Any]:
        progress = state.progress
        return {
            **{name: progress.get(name) for name in _STREAM_FIELDS},
            "events_per_second": progress.get("events_per_second", 0.0) if state.trainer else 0.0,
            "dropped": progress.get("dropped") or {},
            "lost": progress.get("lost") or {},
            "held": progress.get("held") or "",
        }

    def _quality(self, state: LoopState) -> dict[str, Any]:
        progress = state.progress
        return {
            "recent": recent_recall(progress),
            "whole": (progress.get("recall") or {}).get("recall_at_20", {}),
            "measured": progress.get("measured", 0),
            "unmeasured": progress.get("unmeasured", 0),
            "scored_share": progress.get("scored_share"),
        }
