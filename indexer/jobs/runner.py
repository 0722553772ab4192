"""JobRunner: jobs on a thread each, run when they are triggered and at intervals, in case a trigger was missed.

All intervals are measured by the monotonic clock: a wall clock that is set back or forward changes nothing.
"""

from __future__ import annotations

import logging
import math
import random
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import partial
from threading import Condition, Thread

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

# Seconds after which a job that is due and has not begun counts as stuck: its thread has nothing else to do.
_START_SECONDS = 1.0

# Times `indexer.job_timeout`: a run stops at its next safe point after once that time; one that does not is stuck.
_STUCK_FACTOR = 2.0

Work = Callable[[], object]


@dataclass(slots=True)
class _Job:
    """A job: its interval in seconds, its rest factor, when its next sweep is due, and since when it runs."""

    work: Work
    every: float
    rest: float
    due: float
    began: float | None = None


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
        self._changed = Condition()  # guards the four below; notified when one of them changes
        self._jobs: dict[str, _Job] = {}
        self._triggered: dict[str, RunTrigger] = {}  # job -> why it is to run, since its last run began
        self._paused: set[str] = set()
        self._stopping = False
        self._threads: list[Thread] = []

    def add_job(self, name: str, work: Work, every: float, rest: float = 0.0) -> None:
        """Run `work` now and then at intervals of `every` seconds, give or take the jitter.

        After a run, a job that is not triggered rests for at least `rest` times as long as the run took.
        """
        self._watchdog.set_interval(name, every)
        self._jobs[name] = _Job(work, every, rest, due=time.monotonic())
        self._threads.append(Thread(target=self._serve, args=(name,), name=f"job {name}", daemon=True))

    @property
    def names(self) -> Collection[str]:
        """Names of the jobs."""
        return self._jobs.keys()

    def start(self) -> None:
        """Begin to run jobs."""
        for thread in self._threads:
            thread.start()

    def trigger(self, name: str, trigger: RunTrigger = RunTrigger.CALLED) -> None:
        """Run a job now; while it runs already, once more afterwards; while it is paused, when it is resumed."""
        with self._changed:
            if self._triggered.get(name) != RunTrigger.BY_HAND:
                self._triggered[name] = trigger
            self._changed.notify_all()

    def pause(self, name: str) -> None:
        """Start no more runs of a job; one that goes on ends by itself."""
        with self._changed:
            self._paused.add(name)

    def resume(self, name: str) -> None:
        """Run a paused job again; at once if a run was due meanwhile."""
        with self._changed:
            self._paused.discard(name)
            self._changed.notify_all()

    def check_timeouts(self) -> None:
        """Raise the alarm about runs that are over their time, and beat for all jobs that work; to be called often."""
        for name in self._jobs:
            if not self._is_stuck(name):
                self._beat(name)
        try:
            self._watchdog.check()
        except FencedError:
            self._on_lost()

    def stop(self) -> None:
        """Wait until running jobs end; start no more."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        for thread in self._threads:
            if thread.is_alive():
                thread.join()

    def _serve(self, name: str) -> None:
        """Run one job whenever it is due, until the runner stops."""
        job = self._jobs[name]
        while True:
            with self._changed:
                while not self._stopping and (left := self._seconds_left(name)) > 0:
                    self._changed.wait(None if math.isinf(left) else left)
                if self._stopping:
                    return
                trigger = self._triggered.pop(name, RunTrigger.SWEPT)
                job.began = time.monotonic()
                job.due = job.began + job.every * (1.0 + self._jitter * random.random())  # noqa: S311 - spreads load
            try:
                self._run(name, job, trigger)
            finally:
                job.began = None

    def _seconds_left(self, name: str) -> float:
        """Return the seconds until a job that does not run is due; infinity while it is paused."""
        if name in self._paused:
            return math.inf
        return 0.0 if name in self._triggered else self._jobs[name].due - time.monotonic()

    def _is_stuck(self, name: str) -> bool:
        began = self._jobs[name].began
        if began is not None:
            return time.monotonic() - began > _STUCK_FACTOR * self._timeout
        with self._changed:
            return self._seconds_left(name) < -_START_SECONDS

    def _run(self, name: str, job: _Job, trigger: RunTrigger) -> None:
        start = self._watchdog.run_started(name)
        progress = progress_reported_to(partial(self._watchdog.note_progress, name))
        with bound_ids(job=name, run=start.wall_ms), deadline(self._timeout), progress:
            outcome, detail = self._attempt(name, job.work)
        seconds = time.monotonic() - start.monotonic
        metrics.JOB_RUNS.labels(name, outcome).inc()
        metrics.JOB_SECONDS.labels(name).observe(seconds)
        run = JobRun(started=start.wall_ms, seconds=seconds, outcome=outcome, who=trigger, detail=detail)
        rest = job.rest * seconds
        if rest > job.every:
            job.due = time.monotonic() + rest
        self._watchdog.set_interval(name, max(job.every, rest))
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
