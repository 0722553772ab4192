"""StreamFollower: the thread that waits on the trainer's streams and passes entries on within milliseconds."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from threading import Event, Thread

from redis.exceptions import RedisError

from hsnn.indexer import metrics
from hsnn.indexer.build.leader import Leader
from hsnn.indexer.errors import FencedError, VersionChangedError
from hsnn.indexer.jobs.history import RunOutcome
from hsnn.indexer.store import streams
from hsnn.indexer.store.streams import StreamEntry
from hsnn.streaming.retry import LoopBackoff

_log = logging.getLogger(__name__)

# Milliseconds that one read waits, which is how soon `stop` is noticed; an entry ends the wait at once.
_BLOCK_MS = 300

# Seconds between two looks for ends that a quiet stream has passed: how late they are obeyed, at most.
_ENDS_SECONDS = 1.0

# Label of the metrics of jobs under which this thread is counted.
_FOLLOW = "follow"


class StreamFollower(Thread):
    """Passes items and states to the leader; entries of other streams trigger their jobs.

    Parameters
    ----------
    leader
        Applies entries and writes the deltas that follow.
    jobs
        The job that a new entry triggers, by name of the stream.
    trigger
        Called with a job's name.
    on_lost
        Called when this process must not lead any more.
    beat
        Called after every read, at least once a second.
    """

    def __init__(
        self,
        leader: Leader,
        jobs: Mapping[str, str],
        trigger: Callable[[str], None],
        on_lost: Callable[[], None],
        beat: Callable[[], None],
    ) -> None:
        super().__init__(name="follower", daemon=True)
        self._leader = leader
        self._redis = leader.store.redis
        self._trigger, self._on_lost, self._beat = trigger, on_lost, beat
        self._jobs = {leader.store.key(stream): job for stream, job in jobs.items()}
        self._positions = {stream: streams.last_id(self._redis, stream) for stream in self._jobs}
        self._stopping = Event()
        self._ends_at = -_ENDS_SECONDS

    def run(self) -> None:
        """Follow until `stop`."""
        backoff = LoopBackoff(self._stopping)
        while not self._stopping.is_set():
            try:
                self._poll()
                backoff.reset()
            except (FencedError, VersionChangedError) as error:
                _log.warning("follower: %s", error)
                self._on_lost()
                return
            except RedisError as error:
                _log.warning("follower: Redis does not answer (%s); it is tried again", error)
                backoff.pause()
            except Exception:
                _log.exception("follower failed; it is tried again")
                metrics.JOB_RUNS.labels(_FOLLOW, RunOutcome.FAILED).inc()
                backoff.pause()

    def stop(self) -> None:
        """Finish the current read and stop; waits for it."""
        self._stopping.set()
        if self.is_alive():
            self.join()

    def _poll(self) -> None:
        catalogue, positions = self._leader.read_positions()
        entries = streams.read_entries(self._redis, positions | self._positions, block_ms=_BLOCK_MS)
        items = [entry for entry in entries if entry.stream not in self._jobs]
        if items:
            started = time.perf_counter()
            self._leader.apply_entries(catalogue, items)
            metrics.JOB_RUNS.labels(_FOLLOW, RunOutcome.DONE).inc()
            metrics.JOB_SECONDS.labels(_FOLLOW).observe(time.perf_counter() - started)
        self._trigger_jobs([entry for entry in entries if entry.stream in self._jobs])
        if time.monotonic() - self._ends_at >= _ENDS_SECONDS:
            self._ends_at = time.monotonic()
            self._leader.obey_ends()
        self._beat()

    def _trigger_jobs(self, entries: list[StreamEntry]) -> None:
        self._positions |= {entry.stream: entry.id for entry in entries}
        for stream in {entry.stream for entry in entries}:
            self._trigger(self._jobs[stream])
