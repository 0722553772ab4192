"""The jobs under APScheduler: supervised, called when there is work, and swept in case a call was missed."""

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
from hsnn.indexer.deadline import within
from hsnn.indexer.errors import FencedError, HeldError, MovedError, OverrunError, StoppingError
from hsnn.indexer.jobs.history import Journal, Run
from hsnn.indexer.jobs.watchdog import Supervision
from hsnn.indexer.progress import followed

_log = logging.getLogger(__name__)
_WORKERS = 8  # one per job

Work = Callable[[], object]


class Workshop:
    """Runs each job every so often, and at once when `wake` calls it; never two runs of one job at a time.

    No due run is lost: late ones run late (no misfire limit), several due ones become one (the jobs find out what is to
    be done), a call during a run leads to another run after it, and what was due while a job was paused runs when it is
    resumed.

    Parameters
    ----------
    lost
        Called when a job finds that this process must not lead any more.
    journal
        Where every run is noted; None: nowhere.
    timeout
        Seconds after which a run raises an alarm and stops at its next safe point.
    jitter
        A sweep waits longer by up to this share of its interval.
    """

    def __init__(
        self, lost: Callable[[], None], journal: Journal | None = None, timeout: float = math.inf, jitter: float = 0.0
    ) -> None:
        self._lost, self._jitter, self._timeout = lost, jitter, timeout
        self._supervision = Supervision(journal, timeout)
        self._lock = Lock()
        self._called: dict[str, str] = {}  # job -> who called it since its last run began
        self._paused: set[str] = set()
        self._rests: dict[str, tuple[float, float]] = {}
        self._pause: dict[str, float] = {}  # of jobs that rest for longer than their interval
        self._executor = ThreadPoolExecutor(_WORKERS)
        self._scheduler = BackgroundScheduler(
            timezone=UTC,
            executors={"default": self._executor},
            job_defaults={"coalesce": True, "max_instances": 1, "misfire_grace_time": None},
        )
        self._scheduler.add_listener(self._finished, EVENT_JOB_EXECUTED | EVENT_JOB_ERROR)

    def add(self, name: str, work: Work, every: float, rest: float = 0.0) -> None:
        """Run `work` now and then every so many seconds, give or take the jitter.

        After a run a job rests at least `rest` times as long as that took, unless it is called.
        """
        self._rests[name] = every, rest
        self._supervision.expect(name, every)
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
        """Begin."""
        self._scheduler.start()

    def wake(self, name: str, who: str = "called") -> None:
        """Have a job run now; while it runs already, once more afterwards; while it is paused, when it is resumed."""
        with self._lock:
            if self._called.get(name) != "by hand":
                self._called[name] = who
        self._run_in(0.0, name)

    def pause(self, name: str) -> None:
        """Start no run of a job any more; one that is under way ends by itself."""
        with self._lock:
            self._paused.add(name)

    def resume(self, name: str) -> None:
        """Run a paused job again; at once if it was called, or its time came, meanwhile."""
        with self._lock:
            self._paused.discard(name)
            owed = name in self._called
        if owed:
            self._run_in(0.0, name)

    def watch(self) -> None:
        """Raise the alarm about runs that are over their time; call it often."""
        try:
            self._supervision.watch()
        except FencedError:
            self._lost()

    def stop(self) -> None:
        """Let running jobs end, start no more."""
        self._scheduler.shutdown(wait=False)
        self._executor.shutdown(wait=True)  # not by the scheduler: it would hold a lock that `_finished` needs

    def _run(self, name: str, work: Work) -> None:
        with self._lock:
            if name in self._paused:
                self._called.setdefault(name, "swept")  # owed
                return
            who = self._called.pop(name, "swept")
        started = self._supervision.begin(name)
        with within(self._timeout), followed(partial(self._supervision.follow, name)):
            outcome, detail = self._attempt(name, work)
        seconds = time.monotonic() - started.at
        metrics.JOB_RUNS.labels(name, outcome).inc()
        metrics.JOB_SECONDS.labels(name).observe(seconds)
        run = Run(started=started.ms, seconds=seconds, outcome=outcome, who=who, detail=detail)
        self._rest(name, seconds)
        try:
            self._supervision.end(name, run)
        except FencedError:
            self._lost()

    def _attempt(self, name: str, work: Work) -> tuple[str, str]:
        """Outcome and, unless all is well, a sentence about it."""
        try:
            work()
        except (FencedError, MovedError) as error:
            _log.warning("%s: %s", name, error)
            self._lost()
            return "fenced", str(error)
        except HeldError as error:
            _log.debug("%s: %s", name, error)
            return "held", str(error)
        except (StoppingError, OverrunError) as error:
            _log.warning("%s: %s", name, error)
            return "stopped" if isinstance(error, StoppingError) else "overrun", str(error)
        except RedisError as error:
            _log.warning("%s: Redis does not answer (%s); it is tried again", name, error)
            return "failed", str(error)
        except Exception as error:
            _log.exception("%s failed; it is tried again", name)
            return "failed", f"{type(error).__name__}: {error}"
        return "done", ""

    def _finished(self, event: Any) -> None:
        """Let a job rest, or run again if it was called meanwhile, now that the executor has let go of it."""
        if pause := self._pause.get(event.job_id):
            self._run_in(pause, event.job_id)
        with self._lock:
            again = event.job_id in self._called and event.job_id not in self._paused
        if again:  # looked at last: a call that comes before this is in here, one that comes after it sets its own time
            self._run_in(0.0, event.job_id)

    def _rest(self, name: str, seconds: float) -> None:
        """Note how long a job rests after a run of so many seconds."""
        every, rest = self._rests[name]
        self._pause[name] = rest * seconds if rest * seconds > every else 0.0
        self._supervision.expect(name, max(every, self._pause[name]))

    def _run_in(self, seconds: float, name: str) -> None:
        try:
            self._scheduler.modify_job(name, next_run_time=_now() + timedelta(seconds=seconds))
        except JobLookupError:
            _log.debug("%s is called after the end", name)


def _now() -> datetime:
    return datetime.now(UTC)
