"""Follower: the thread that waits on the trainer's streams and passes on what it hears, within milliseconds."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from threading import Event, Thread

from redis.exceptions import RedisError

from hsnn.indexer import metrics
from hsnn.indexer.build.leader import Leader
from hsnn.indexer.errors import FencedError, MovedError
from hsnn.indexer.jobs import control
from hsnn.indexer.store import streams
from hsnn.indexer.store.streams import Entry

_log = logging.getLogger(__name__)
_BLOCK_MS = 300  # how soon an end is noticed; an entry ends the wait at once
_PAUSE = 0.5

JOB_OF_STREAM = {"snapshots": "refresh", "alarms": "alarms", "jobs:requests": control.NAME}
"""Streams whose entries call a job."""


class Follower(Thread):
    """Items and states go to the leader; snapshots and alarms call their jobs.

    Parameters
    ----------
    leader
        Takes entries and writes the deltas that follow.
    wake
        Called with a job's name.
    lost
        Called when this process must not lead any more.
    beat
        Called after every turn, at least once a second.
    """

    def __init__(
        self, leader: Leader, wake: Callable[[str], None], lost: Callable[[], None], beat: Callable[[], None]
    ) -> None:
        super().__init__(name="follower", daemon=True)
        self._leader = leader
        self._redis = leader.store.redis
        self._wake, self._lost, self._beat = wake, lost, beat
        self._jobs = {leader.store.key(stream): job for stream, job in JOB_OF_STREAM.items()}
        self._heard = {stream: streams.last_id(self._redis, stream) for stream in self._jobs}
        self._ended = Event()

    def run(self) -> None:
        """Follow until `end`."""
        while not self._ended.is_set():
            try:
                self._turn()
            except (FencedError, MovedError) as error:
                _log.warning("follower: %s", error)
                self._lost()
                return
            except RedisError as error:
                _log.warning("follower: Redis does not answer (%s); it is tried again", error)
                self._ended.wait(_PAUSE)
            except Exception:
                _log.exception("follower failed; it is tried again")
                metrics.JOB_RUNS.labels("follow", "failed").inc()
                self._ended.wait(_PAUSE)

    def end(self) -> None:
        """Finish the current turn and stop; waits for it."""
        self._ended.set()
        if self.is_alive():
            self.join()

    def _turn(self) -> None:
        catalogue, positions = self._leader.positions()
        entries = streams.read(self._redis, positions | self._heard, block_ms=_BLOCK_MS)
        items = [entry for entry in entries if entry.stream not in self._jobs]
        if items:
            started = time.perf_counter()
            self._leader.take(catalogue, items)
            metrics.JOB_RUNS.labels("follow", "done").inc()
            metrics.JOB_SECONDS.labels("follow").observe(time.perf_counter() - started)
        self._pass_on([entry for entry in entries if entry.stream in self._jobs])
        self._beat()

    def _pass_on(self, entries: list[Entry]) -> None:
        self._heard |= {entry.stream: entry.id for entry in entries}
        for stream in {entry.stream for entry in entries}:
            self._wake(self._jobs[stream])
