"""JobRunner: jobs under APScheduler, run when they are triggered and at intervals, in case a trigger was missed."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from threading import Lock
from typing import Any

from apscheduler.events import EVENT_JOB_ERROR, EVENT_JOB_EXECUTED
from apscheduler.executors.pool import ThreadPoolExecutor
from apscheduler.jobstores.base import JobLookupError
from apscheduler.schedulers.background import BackgroundScheduler
from redis.exceptions import RedisError

from hsnn.indexer import metrics
from hsnn.indexer.errors import (
    FencedError,
    JobTimeoutError,
    PublishHeldError,
    ShutdownError,
    VersionChangedError,
)
from hsnn.indexer.job_context import deadline, progress_reported_to
from hsnn.indexer.jobs.history import JobHistory, JobName, JobRun, RunOutcome, RunTrigger
from hsnn.indexer.jobs.watchdog import Watchdog

_log = logging.getLogger(__name__)

# Threads, one per job, so that no job waits for another.
_WORKERS = len(JobName)

Work = Callable[[], object]


class JobRunner:
    """Runs each job at an interval, and at once when `trigger` asks for it; never two runs of one job at a time.

    No due run is lost. Late runs run late (no misfire limit); several due runs become one, since a job finds out by
    itself what is to be done; a job that is triggered during a run runs again after it; what was due while a job was
    paused runs when it is resumed.

    Parameters
    ----------
    on_lost
        Called when a job finds that this process must not lead any more.
    job_history
        Where runs are recorded; None: nowhere.
    timeout
        Seconds after which a run raises an alarm and stops at its next safe point.
    jitter
        Share of the interval by which a run may be late, at random.
    """

    def __init__(
        self,
        on_lost: Callable[[], None],
        job_history: JobHistory | None = None,
        timeout: float = math.inf,
        jitter: float = 0.0,
    ) -> None:
        self._on_lost, self._jitter, self._timeout = on_lost, jitter, timeout
        self._watchdog = Watchdog(job_history, timeout)
        self._lock = Lock()
        self._triggered: dict[str, RunTrigger] = {}  # job -> why it is to run, since its last run began
        self._paused: set[str] = set()
        self._intervals: dict[str, tuple[float, float]] = {}  # job -> interval in seconds, rest factor
        self._rests: dict[str, float] = {}  # job -> seconds until its next run, where longer than its interval
        self._executor = ThreadPoolExecutor(_WORKERS)
        self._scheduler = BackgroundScheduler(
            timezone=UTC,
            executors={"default": self._executor},
            job_defaults={"coalesce": True, "max_instances": 1, "misfire_grace_time": None},
        )
        self._scheduler.add_listener(self._reschedule, EVENT_JOB_EXECUTED | EVENT_JOB_ERROR)

    def add_job(self, name: str, work: Work, every: float, rest: float = 0.0) -> None:
        """Run `work` now and then at intervals of `every` seconds, give or take the jitter.

        After a run, a job that is not triggered rests for at least `rest` times as long as the run took.
        """
        self._intervals[name] = every, rest
        self._watchdog.set_interval(name, every)
        self._scheduler.add_job(
            self._run,
            "interval",
            (name, work),
            id=name,
            name=name,
            seconds=every,
            jitter=self._jitter * every,
            next_run_time=_now(),
        )

    def start(self) -> None:
        """Begin to run jobs."""
        self._scheduler.start()

    def trigger(self, name: str, trigger: RunTrigger = RunTrigger.CALLED) -> None:
        """Run a job now; while it runs already, once more afterwards; while it is paused, when it is resumed."""
        with self._lock:
            if self._triggered.get(name) != RunTrigger.BY_HAND:
                self._triggered[name] = trigger
        self._run_in(0.0, name)

    def pause(self, name: str) -> None:
        """Start no more runs of a job; one that goes on ends by itself."""
        with self._lock:
            self._paused.add(name)

    def resume(self, name: str) -> None:
        """Run a paused job again; at once if a run was due meanwhile."""
        with self._lock:
            self._paused.discard(name)
            due = name in self._triggered
        if due:
            self._run_in(0.0, name)

    def check_timeouts(self) -> None:
        """Raise the alarm about runs that are over their time; to be called often."""
        try:
            self._watchdog.check()
        except FencedError:
            self._on_lost()

    def stop(self) -> None:
        """Wait until running jobs end; start no more."""
        self._scheduler.shutdown(wait=False)
        self._executor.shutdown(wait=True)  # not by the scheduler: it would hold a lock that `_reschedule` needs

    def _run(self, name: str, work: Work) -> None:
        with self._lock:
            if name in self._paused:
                self._triggered.setdefault(name, RunTrigger.SWEPT)  # due when it is resumed
                return
            trigger = self._triggered.pop(name, RunTrigger.SWEPT)
        start = self._watchdog.run_started(name)
        with deadline(self._timeout), progress_reported_to(partial(self._watchdog.note_progress, name)):
            outcome, detail = self._attempt(name, work)
        seconds = time.monotonic() - start.monotonic
        metrics.JOB_RUNS.labels(name, outcome).inc()
        metrics.JOB_SECONDS.labels(name).observe(seconds)
        run = JobRun(started=start.wall_ms, seconds=seconds, outcome=outcome, who=trigger, detail=detail)
        self._set_rest(name, seconds)
        try:
            self._watchdog.run_ended(name, run)
        except FencedError:
            self._on_lost()

    def _attempt(self, name: str, work: Work) -> tuple[RunOutcome, str]:
        """Do the work; return the outcome and, unless it is done, a sentence about it."""
        try:
            work()
        except (FencedError, VersionChangedError) as error:
            _log.warning("%s: %s", name, error)
            self._on_lost()
            return RunOutcome.FENCED, str(error)
        except PublishHeldError as error:
            _log.debug("%s: %s", name, error)
            return RunOutcome.HELD, str(error)
        except (ShutdownError, JobTimeoutError) as error:
            _log.warning("%s: %s", name, error)
            return RunOutcome.STOPPED if isinstance(error, ShutdownError) else RunOutcome.OVERRUN, str(error)
        except RedisError as error:
            _log.warning("%s: Redis does not answer (%s); it is tried again", name, error)
            return RunOutcome.FAILED, str(error)
        except Exception as error:
            _log.exception("%s failed; it is tried again", name)
            return RunOutcome.FAILED, f"{type(error).__name__}: {error}"
        return RunOutcome.DONE, ""

    def _reschedule(self, event: Any) -> None:
        """Reschedule a job whose run has ended: after its rest, or at once if it was triggered meanwhile."""
        if rest := self._rests.get(event.job_id):
            self._run_in(rest, event.job_id)
        # Looked at last: a trigger that comes before this is seen here, one that comes after it sets its own time.
        with self._lock:
            again = event.job_id in self._triggered and event.job_id not in self._paused
        if again:
            self._run_in(0.0, event.job_id)

    def _set_rest(self, name: str, seconds: float) -> None:
        """Note how long a job rests after a run of so many seconds."""
        every, factor = self._intervals[name]
        self._rests[name] = factor * seconds if factor * seconds > every else 0.0
        self._watchdog.set_interval(name, max(every, self._rests[name]))

    def _run_in(self, seconds: float, name: str) -> None:
        try:
            self._scheduler.modify_job(name, next_run_time=_now() + timedelta(seconds=seconds))
        except JobLookupError:
            _log.debug("%s is triggered after the runner has stopped", name)


def _now() -> datetime:
    return datetime.now(UTC)
