"""Watchdog: which jobs run now and since when; raises the alarm about a run over its time and records every run."""

from __future__ import annotations

import logging
import time
from threading import Lock, RLock
from typing import NamedTuple

from redis.exceptions import RedisError

from hsnn.indexer import metrics
from hsnn.indexer.job_context import JobProgress
from hsnn.indexer.jobs.history import ActiveRun, JobHistory, JobRun

_log = logging.getLogger(__name__)

# Seconds after which a run is shown while it goes on, and between two updates: more often would only load Redis.
_SHOW_INTERVAL = 1.0


class RunStart(NamedTuple):
    """When a run began: by the monotonic clock in seconds, and in wall time, epoch ms."""

    monotonic: float
    wall_ms: int


class Watchdog:
    """Measures running jobs and writes to their history; safe to use from several threads.

    If Redis cannot be reached, the run goes on and only its record is lost.

    Parameters
    ----------
    job_history
        None: nothing is recorded.
    timeout
        Seconds that a run may take.
    """

    def __init__(self, job_history: JobHistory | None, timeout: float) -> None:
        self._job_history, self._timeout = job_history, timeout
        self._intervals: dict[str, float] = {}
        self._running: dict[str, RunStart] = {}
        self._alarmed: set[str] = set()
        self._progress: dict[str, JobProgress] = {}
        self._shown: dict[str, float] = {}
        self._lock = Lock()
        self._writing = RLock()  # the alarm about a run is written before its record

    def set_interval(self, name: str, seconds: float) -> None:
        """Note the interval of a job."""
        self._intervals[name] = seconds

    def run_started(self, name: str) -> RunStart:
        """Start the clock of a run."""
        start = RunStart(time.monotonic(), time.time_ns() // 1_000_000)
        with self._lock:
            self._running[name] = start
        return start

    def note_progress(self, name: str, progress: JobProgress) -> None:
        """Note the progress of a run; `check` shows it."""
        self._progress[name] = progress

    def check(self) -> None:
        """Raise the alarm about runs that are over their time, once each; show those that take long.

        Raises
        ------
        FencedError
            Another process leads.
        """
        now = time.monotonic()
        with self._lock:
            late = [name for name, start in self._running.items() if now - start.monotonic > self._timeout]
            shown = [name for name in self._running if now - self._last_shown(name) > _SHOW_INTERVAL]
        for name in late:
            self._raise_alarm(name)
        for name in shown:
            self._show(name, now)

    def _last_shown(self, name: str) -> float:
        return max(self._running[name].monotonic, self._shown.get(name, 0.0))

    def _show(self, name: str, now: float) -> None:
        with self._writing:
            with self._lock:
                start, over = self._running.get(name), name in self._alarmed
            if start is None or self._job_history is None:
                return
            self._shown[name] = now
            try:
                run = ActiveRun(since=start.wall_ms, progress=self._progress.get(name))
                self._job_history.record_active(name, self._intervals[name], run, over=over)
            except RedisError as error:
                _log.warning("the run of %s could not be shown: %s", name, error)

    def run_ended(self, name: str, run: JobRun) -> None:
        """Stop the clock and record the run.

        Raises
        ------
        FencedError
            Another process leads; the run is not recorded.
        """
        with self._writing:
            try:
                self._record(name, run)
            except RedisError as error:
                _log.warning("a run of %s could not be recorded: %s", name, error)
            finally:
                with self._lock:
                    self._running.pop(name, None)
                    self._alarmed.discard(name)
                    self._progress.pop(name, None)

    def _record(self, name: str, run: JobRun) -> None:
        over = run.seconds > self._timeout
        if over:
            self._raise_alarm(name)
        if self._job_history is not None:
            self._job_history.record_run(name, self._intervals[name], run)
            if over:
                self._job_history.record_overrun_outcome(name, run)

    def _raise_alarm(self, name: str) -> None:
        """Raise the alarm about a run, once."""
        with self._writing:
            with self._lock:
                start = self._running.get(name)
                if start is None or name in self._alarmed:
                    return
                self._alarmed.add(name)
            metrics.JOB_OVERRUNS.labels(name).inc()
            _log.warning("%s runs longer than indexer.job_timeout, %g s", name, self._timeout)
            if self._job_history is None:
                return
            try:
                self._job_history.raise_overrun_alarm(
                    name, self._intervals[name], started=start.wall_ms, limit=self._timeout
                )
            except RedisError as error:
                _log.warning("the overrun of %s could not be recorded: %s", name, error)
