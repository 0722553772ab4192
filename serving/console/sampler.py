"""The sampler: a thread of the server that adds a row to the history every few seconds."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from threading import Event, Thread

from redis.exceptions import RedisError

from hsnn.indexer.store.lease import default_owner
from hsnn.indexer.store.reader import IndexReader
from hsnn.serving.console.history import INTERVAL, FigureHistory, Sample
from hsnn.serving.console.progress import LoopState, read_loop_state, recent_recall
from hsnn.serving.console.request_meter import Counts, RequestMeter
from hsnn.serving.metrics import ServingMetrics
from hsnn.serving.mirror.mirror import Mirror
from hsnn.streaming.consumer.batch_builder import DUPLICATE
from hsnn.streaming.redis.client import Redis

_log = logging.getLogger(__name__)


class FigureSampler(Thread):
    """Samples until `stop`; a server of Redis that does not answer costs a row, nothing else.

    Parameters
    ----------
    redis
        A client whose values are bytes.
    mirror, metrics
        Of this server.
    writes
        Whether this process is the one of its server that appends rows.
    clock
        Monotonic clock, seconds.
    """

    def __init__(
        self,
        redis: Redis,
        mirror: Mirror,
        metrics: ServingMetrics,
        *,
        interval: float = INTERVAL,
        writes: Callable[[], bool] = lambda: True,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(name="console history", daemon=True)
        self._reader, self._mirror = IndexReader(redis), mirror
        self._history, self._meter = FigureHistory(redis), RequestMeter(metrics)
        self._interval, self._writes, self._clock = interval, writes, clock
        self._server = default_owner()
        self._counts: Counts = self._meter.counts(clock())
        self._before: LoopState | None = None
        self._stopped = Event()

    def run(self) -> None:
        """Sample every interval."""
        while not self._stopped.wait(self._interval):
            try:
                self.sample()
            except RedisError as error:
                _log.debug("the console's history lacks a row: %s", error)
            except Exception:  # a console without a row must not end, and its server even less
                _log.exception("the console's history lacks a row")

    def stop(self) -> None:
        """Stop, and wait for the row that is being written."""
        self._stopped.set()
        if self.is_alive():
            self.join(timeout=10)

    def sample(self) -> Sample:
        """Measure since the last time, and append a row, unless another process does."""
        state, counts = read_loop_state(self._reader), self._meter.counts(self._clock())
        seconds = max(counts.at - self._counts.at, 1e-9)
        rates, progress = self._meter.rates(self._counts, counts), state.progress
        sample = Sample(
            server=self._server,
            events_per_second=self._per_second(state, "trained", seconds),
            lag_records=progress.get("lag_records"),
            lag_seconds=progress.get("lag_seconds"),
            dropped=self._per_second(state, "dropped", seconds),
            dead_lettered=self._per_second(state, "dead_lettered", seconds),
            loss=progress.get("loss"),
            items=retrievable_items(self._mirror),
            version=self._mirror.version or None,
            recall=recent_recall(progress),
            pending=progress.get("pending"),
            labelled=self._per_second(state, "labelled", seconds),
            late_actions=self._per_second(state, "late_actions", seconds),
            duplicates=self._per_second(state, DUPLICATE, seconds),
            **rates._asdict(),
        )
        if self._writes():
            self._history.append(sample, time.time_ns() // 1_000_000)
        self._before, self._counts = state, counts
        return sample

    def _per_second(self, state: LoopState, name: str, seconds: float) -> float | None:
        """Compute the rate of one of the trainer's counts since the last row; None for the first row."""
        if self._before is None or not state.progress:
            return None
        before, after = _count(self._before, name), _count(state, name)
        return max(after - before, 0) / seconds  # a trainer that restarted goes on from an older count


def retrievable_items(mirror: Mirror) -> int | None:
    """Return the number of retrievable items; None before the first version."""
    if not mirror.loaded:
        return None
    with mirror.reading():
        return mirror.state.corpus


def _count(state: LoopState, name: str) -> int:
    if name == "dropped":
        return state.dropped
    progress = state.progress
    among = {DUPLICATE: "dropped", "labelled": "windows", "late_actions": "windows"}.get(name)
    return int((progress if among is None else progress.get(among) or {}).get(name, 0))
