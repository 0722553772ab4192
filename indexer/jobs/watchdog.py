"""Supervision: which jobs run now, since when, and whether any is over its time; every run gets its line."""

from __future__ import annotations

import logging
import time
from threading import Lock, RLock
from typing import NamedTuple

from redis.exceptions import RedisError

from hsnn.indexer import metrics
from hsnn.indexer.jobs.history import Journal, Run, Running
from hsnn.indexer.progress import Progress

_log = logging.getLogger(__name__)
_MOMENT = 1.0  # seconds after which a run is shown while it goes on, and between two times


class Start(NamedTuple):
    """When a run began: by the monotonic clock in seconds, and in wall time, epoch ms."""

    at: float
    ms: int


class Supervision:
    """Keeps the clock of running jobs and writes to the journal.

    A journal that cannot be reached costs its line, never the run.

    Parameters
    ----------
    journal
        None: nothing is written.
    timeout
        Seconds that a run may take.
    """

    def __init__(self, journal: Journal | None, timeout: float) -> None:
        self._journal, self._timeout = journal, timeout
        self._every: dict[str, float] = {}
        self._running: dict[str, Start] = {}
        self._alarmed: set[str] = set()
        self._progress: dict[str, Progress] = {}
        self._shown: dict[str, float] = {}
        self._lock = Lock()
        self._writing = RLock()  # the alarm about a run lies before its line

    def expect(self, name: str, every: float) -> None:
        """Note a job and its interval in seconds."""
        self._every[name] = every

    def begin(self, name: str) -> Start:
        """Start the clock of a run."""
        start = Start(time.monotonic(), time.time_ns() // 1_000_000)
        with self._lock:
            self._running[name] = start
        return start

    def follow(self, name: str, progress: Progress) -> None:
        """Note how far a run is; it is shown by `watch`."""
        self._progress[name] = progress

    def watch(self) -> None:
        """Raise the alarm about runs that are over their time, once each; show those that take long.

        Raises
        ------
        FencedError
            Somebody else leads.
        """
        now = time.monotonic()
        with self._lock:
            late = [name for name, start in self._running.items() if now - start.at > self._timeout]
            shown = [name for name in self._running if now - self._last_shown(name) > _MOMENT]
        for name in late:
            self._alarm(name)
        for name in shown:
            self._show(name, now)

    def _last_shown(self, name: str) -> float:
        return max(self._running[name].at, self._shown.get(name, 0.0))

    def _show(self, name: str, now: float) -> None:
        with self._writing:
            with self._lock:
                start, over = self._running.get(name), name in self._alarmed
            if start is None or self._journal is None:
                return
            self._shown[name] = now
            try:
                run = Running(since=start.ms, progress=self._progress.get(name))
                self._journal.running(name, self._every[name], run, over=over)
            except RedisError as error:
                _log.warning("the run of %s could not be shown: %s", name, error)

    def end(self, name: str, run: Run) -> None:
        """Stop the clock and note the run.

        Raises
        ------
        FencedError
            Somebody else leads; the run has no line.
        """
        with self._writing:
            try:
                self._note(name, run)
            except RedisError as error:
                _log.warning("a run of %s could not be noted: %s", name, error)
            finally:
                with self._lock:
                    self._running.pop(name, None)
                    self._alarmed.discard(name)
                    self._progress.pop(name, None)

    def _note(self, name: str, run: Run) -> None:
        over = run.seconds > self._timeout
        if over:
            self._alarm(name)
        if self._journal is not None:
            self._journal.note(name, self._every[name], run)
            if over:
                self._journal.overran(name, run)

    def _alarm(self, name: str) -> None:
        with self._writing:
            self._alarm_once(name)

    def _alarm_once(self, name: str) -> None:
        with self._lock:
            start = self._running.get(name)
            if start is None or name in self._alarmed:
                return
            self._alarmed.add(name)
        metrics.JOB_OVERRUNS.labels(name).inc()
        _log.warning("%s runs longer than indexer.job_timeout, %g s", name, self._timeout)
        if self._journal is not None:
            try:
                self._journal.overrun(name, self._every[name], start.ms, self._timeout)
            except RedisError as error:
                _log.warning("the overrun of %s could not be noted: %s", name, error)
