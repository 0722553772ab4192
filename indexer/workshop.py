"""The jobs under APScheduler: supervised, called when there is work, and swept in case a call was missed."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from datetime import UTC, datetime
from threading import Lock
from typing import Any

from apscheduler.events import EVENT_JOB_ERROR, EVENT_JOB_EXECUTED
from apscheduler.executors.pool import ThreadPoolExecutor
from apscheduler.jobstores.base import JobLookupError
from apscheduler.schedulers.background import BackgroundScheduler
from redis.exceptions import RedisError

from indexer import metrics
from indexer.errors import FencedError, MovedError, StoppingError

_log = logging.getLogger(__name__)
_WORKERS = 6


class Workshop:
    """Runs each job every so often, and at once when `wake` calls it; never two runs of one job at a time.

    No due run is lost: late ones run late (no misfire limit), several due ones become one (the jobs find out what is to
    be done), and a call during a run leads to another run after it.

    Parameters
    ----------
    lost
        Called when a job finds that this process must not lead any more.
    """

    def __init__(self, lost: Callable[[], None]) -> None:
        self._lost = lost
        self._lock = Lock()
        self._called: set[str] = set()
        self._scheduler = BackgroundScheduler(
            timezone=UTC,
            executors={"default": ThreadPoolExecutor(_WORKERS)},
            job_defaults={"coalesce": True, "max_instances": 1, "misfire_grace_time": None},
        )
        self._scheduler.add_listener(self._finished, EVENT_JOB_EXECUTED | EVENT_JOB_ERROR)

    def add(self, name: str, work: Callable[[], object], every: float) -> None:
        """Run `work` now and then every so many seconds."""
        self._scheduler.add_job(
            self._run, "interval", (name, work), id=name, name=name, seconds=every, next_run_time=_now()
        )

    def start(self) -> None:
        """Begin."""
        self._scheduler.start()

    def wake(self, name: str) -> None:
        """Have a job run now; while it runs already, once more afterwards."""
        with self._lock:
            self._called.add(name)
        self._hasten(name)

    def stop(self) -> None:
        """Let running jobs end, start no more."""
        self._scheduler.shutdown(wait=True)

    def _run(self, name: str, work: Callable[[], object]) -> None:
        with self._lock:
            self._called.discard(name)
        started = time.perf_counter()
        outcome = "failed"
        try:
            work()
            outcome = "done"
        except (FencedError, MovedError) as error:
            outcome = "fenced"
            _log.warning("%s: %s", name, error)
            self._lost()
        except StoppingError as error:
            outcome = "stopped"
            _log.info("%s: %s", name, error)
        except RedisError as error:
            _log.warning("%s: Redis does not answer (%s); it is tried again", name, error)
        except Exception:
            _log.exception("%s failed; it is tried again", name)
        finally:
            metrics.JOB_RUNS.labels(name, outcome).inc()
            metrics.JOB_SECONDS.labels(name).observe(time.perf_counter() - started)

    def _finished(self, event: Any) -> None:
        """Run a job again that was called during its run, now that the executor has let go of it."""
        with self._lock:
            again = event.job_id in self._called
        if again:
            self._hasten(event.job_id)

    def _hasten(self, name: str) -> None:
        try:
            self._scheduler.modify_job(name, next_run_time=_now())
        except JobLookupError:
            _log.debug("%s is called after the end", name)


def _now() -> datetime:
    return datetime.now(UTC)
