"""JobRunner: jobs under APScheduler, run when they are triggered and at intervals, in case a trigger was missed.

APScheduler goes by the wall clock. When that is set back or forward, all jobs are scheduled anew by the monotonic one.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
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
from hsnn.indexer.jobs.history import JobHistory, JobRun, RunOutcome, RunTrigger
from hsnn.indexer.jobs.watchdog import Watchdog
from hsnn.monitoring.process.log_format import bound_ids

_log = logging.getLogger(__name__)

# Threads at most, more than there are jobs, so that no job waits for another; they are started as they are needed.
_WORKERS = 64

# Seconds after which a job that is due and has not begun counts as stuck: its thread has nothing else to do.
_START_SECONDS = 1.0

# Seconds by which the wall clock has moved against the monotonic one since the last look, if it was set: slewing moves
# it by less.
_CLOCK_STEP = 0.5

# Times `indexer.job_timeout`: a run stops at its next safe point after once that time; one that does not is stuck.
_STUCK_FACTOR = 2.0

Work = Callable[[], object]


@dataclass(slots=True)
class _Job:
    """A job: its interval in seconds, its rest factor, when its next run is due, and since when it runs.

    Both times are seconds of the monotonic clock. `resting` is the rest after the last run, in seconds; 0 where that is
    no longer than the interval.
    """

    every: float
    rest: float
    due: float
    began: float | None = None
    resting: float = 0.0


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
    beat
        Called with the name of each job that is not stuck, at every check.
    """

    def __init__(
        self,
        on_lost: Callable[[], None],
        job_history: JobHistory | None = None,
        timeout: float = math.inf,
        jitter: float = 0.0,
        beat: Callable[[str], object] = lambda name: None,  # noqa: ARG005
    ) -> None:
        self._on_lost, self._jitter, self._timeout, self._beat = on_lost, jitter, timeout, beat
        self._watchdog = Watchdog(job_history, timeout)
        self._lock = Lock()  # guards the three below
        self._jobs: dict[str, _Job] = {}
        self._triggered: dict[str, RunTrigger] = {}  # job -> why it is to run, since its last run began
        self._paused: set[str] = set()
        self._ahead = time.time() - time.monotonic()
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
        self._watchdog.set_interval(name, every)
        self._jobs[name] = _Job(every, rest, due=time.monotonic())
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

    @property
    def names(self) -> Collection[str]:
        """Names of the jobs."""
        return self._jobs.keys()

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
        """Raise the alarm about runs that are over their time, and beat for all jobs that work; to be called often.

        A wall clock that was set since the last call is noticed here.
        """
        self._follow_clock()
        for name in self._jobs:
            if not self._is_stuck(name):
                self._beat(name)
        try:
            self._watchdog.check()
        except FencedError:
            self._on_lost()

    def stop(self) -> None:
        """Wait until running jobs end; start no more."""
        self._scheduler.shutdown(wait=False)
        self._executor.shutdown(wait=True)  # not by the scheduler: it would hold a lock that `_reschedule` needs

    def _follow_clock(self) -> None:
        """Schedule all jobs anew if the wall clock was set."""
        ahead = time.time() - time.monotonic()
        step, self._ahead = ahead - self._ahead, ahead
        if abs(step) < _CLOCK_STEP:
            return
        _log.warning("the wall clock was set by %+.1f s; jobs keep their intervals", step)
        for name, job in self._jobs.items():  # one that runs is not run twice: its next run follows the new clock
            self._run_in(max(0.0, job.due - time.monotonic()), name)

    def _is_stuck(self, name: str) -> bool:
        job, now = self._jobs[name], time.monotonic()
        if job.began is not None:
            return now - job.began > _STUCK_FACTOR * self._timeout
        with self._lock:
            return name not in self._paused and now - job.due > _START_SECONDS

    def _run(self, name: str, work: Work) -> None:
        job = self._jobs[name]
        with self._lock:
            if name in self._paused:
                self._triggered.setdefault(name, RunTrigger.SWEPT)  # due when it is resumed
                return
            trigger = self._triggered.pop(name, RunTrigger.SWEPT)
            job.began = time.monotonic()
        try:
            self._run_once(name, work, trigger)
        finally:
            with self._lock:
                latest = job.began + job.every * (1 + self._jitter)
                job.due, job.began = max(latest, time.monotonic() + job.resting), None

    def _run_once(self, name: str, work: Work, trigger: RunTrigger) -> None:
        start = self._watchdog.run_started(name)
        progress = progress_reported_to(partial(self._watchdog.note_progress, name))
        with bound_ids(job=name, run=start.wall_ms), deadline(self._timeout), progress:
            outcome, detail = self._attempt(name, work)
        seconds = time.monotonic() - start.monotonic
        metrics.JOB_RUNS.labels(name, outcome).inc()
        metrics.JOB_SECONDS.labels(name).observe(seconds)
        run = JobRun(started=start.wall_ms, seconds=seconds, outcome=outcome, who=trigger, detail=detail)
        job, rest = self._jobs[name], self._jobs[name].rest * seconds
        job.resting = rest if rest > job.every else 0.0
        self._watchdog.set_interval(name, max(job.every, job.resting))
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
        if rest := self._jobs[event.job_id].resting:
            self._run_in(rest, event.job_id)
        # Looked at last: a trigger that comes before this is seen here, one that comes after it sets its own time.
        with self._lock:
            again = event.job_id in self._triggered and event.job_id not in self._paused
        if again:
            self._run_in(0.0, event.job_id)

    def _run_in(self, seconds: float, name: str) -> None:
        try:
            self._scheduler.modify_job(name, next_run_time=_now() + timedelta(seconds=seconds))
        except JobLookupError:
            _log.debug("%s is triggered after the runner has stopped", name)


def _now() -> datetime:
    return datetime.now(UTC)
