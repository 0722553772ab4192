"""Job history: names, states and past runs of the scheduler's jobs, as the leader writes them to Redis."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

import msgspec

from hsnn.indexer.job_context import JobProgress
from hsnn.indexer.store import lua_scripts
from hsnn.indexer.store.reader import IndexReader
from hsnn.indexer.store.writer import IndexStore
from hsnn.monitoring.audit import AuditTrail
from hsnn.monitoring.discovery import module_names

RUNS_KEPT = 200
"""Runs kept per job: some minutes of the most frequent one, days of the others, in some tens of kilobytes."""

# Suffixes of the fields beside a job's state: the number of its runs, and the request that paused it.
_RUNS, _PAUSED = ":runs", ":paused"


JOBS_PACKAGE = "hsnn.indexer.jobs.scheduled"
"""Package whose modules declare the jobs; a job's name is written to Redis and is a label of metrics."""

REFRESH = "refresh"
"""The job that people's holds and releases concern."""

REQUESTS = "requests"
"""The job that handles people's requests. They cannot run or pause it: paused, it would handle no request to resume
it."""


def job_names() -> tuple[str, ...]:
    """Name the jobs that people may run, pause and resume, without importing them.

    Examples
    --------
    >>> job_names()
    ('alarms', 'clean', 'flips', 'rebalance', 'refresh', 'settle', 'sweep', 'verify')
    """
    return module_names(JOBS_PACKAGE)


class RunOutcome(StrEnum):
    """How a run ended; the values are written to Redis and are labels of metrics."""

    DONE = "done"
    FAILED = "failed"
    FENCED = "fenced"
    """Another process leads."""
    STOPPED = "stopped"
    """This process was about to end."""
    HELD = "held"
    """Publishing is held."""
    OVERRUN = "overrun"
    """It stopped at a safe point after its time limit."""


class RunTrigger(StrEnum):
    """Why a run began; the values are written to Redis."""

    CALLED = "called"
    """A stream had new entries."""
    SWEPT = "swept"
    """Its interval was over."""
    BY_HAND = "by hand"
    """A person asked for it."""


class JobRun(msgspec.Struct, frozen=True, kw_only=True):
    """One run of a job.

    Attributes
    ----------
    started
        Wall time, epoch ms.
    seconds
        How long it took.
    outcome
        See `RunOutcome`.
    who
        See `RunTrigger`.
    detail
        What went wrong, in a sentence.
    """

    started: int
    seconds: float
    outcome: str
    who: str
    detail: str = ""


class ActiveRun(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A run that goes on: since when (epoch ms), and its progress if it reports any."""

    since: int
    progress: JobProgress | None = None


class JobState(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What the leader writes about a job.

    Attributes
    ----------
    every
        Its interval in seconds.
    last
        Its last run.
    overrun_since
        Start of the run that is over its time limit, epoch ms.
    running
        The run that goes on, once it takes longer than a second.
    """

    every: float
    last: JobRun | None = None
    overrun_since: int | None = None
    running: ActiveRun | None = None


class JobView(msgspec.Struct, frozen=True, kw_only=True):
    """A job as people see it."""

    name: str
    state: JobState
    runs: int
    paused: bool

    @property
    def next_at(self) -> int | None:
        """Epoch ms after which the next run is due, at most `indexer.jitter` later; None while paused or never run."""
        last = self.state.last
        return None if self.paused or last is None else last.started + round(1000 * self.state.every)


class JobHistory:
    """Writes states and runs of jobs by a script that checks the leader's fencing token.

    Parameters
    ----------
    store
        With the lease.
    audit
        Told of runs that take longer than their limit.
    """

    def __init__(self, store: IndexStore, audit: AuditTrail) -> None:
        self._store = store
        self._audit = audit

    def record_run(self, name: str, every: float, run: JobRun) -> None:
        """Add a run that ended.

        Raises
        ------
        FencedError
            Another process leads; nothing was written.
        """
        self._write(name, JobState(every=every, last=run), msgspec.json.encode(run))

    def record_active(self, name: str, every: float, run: ActiveRun, *, over: bool = False) -> None:
        """Show a run that goes on, and whether it is `over` its time limit.

        Raises
        ------
        FencedError
            Another process leads; nothing was written.
        """
        since = run.since if over else None
        self._write(name, JobState(every=every, last=self._last_run(name), overrun_since=since, running=run))

    def raise_overrun_alarm(self, name: str, every: float, started: int, limit: float) -> None:
        """Raise the alarm about a run that goes on beyond its limit of seconds.

        Raises
        ------
        FencedError
            Another process leads; nothing was written.
        """
        self._write(name, JobState(every=every, last=self._last_run(name), overrun_since=started))
        self._audit.record(
            "alarm",
            kind="job_overrun",
            alarm=f"job_overrun:{name}:{started}",
            ts=started,
            job=name,
            limit=limit,
            text=f"{name} runs longer than {limit:g} s; it is stopped at its next safe point",
        )

    def record_overrun_outcome(self, name: str, run: JobRun) -> None:
        """Record in the audit trail how a run ended for which the alarm was raised."""
        self._audit.record(
            "outcome",
            kind="job_overrun",
            alarm=f"job_overrun:{name}:{run.started}",
            action="stop",
            outcome=run.outcome,
            job=name,
            seconds=run.seconds,
        )

    def _last_run(self, name: str) -> JobRun | None:
        return next(iter(run_history(self._store, name, 1)), None)

    def _write(self, name: str, state: JobState, run: bytes = b"") -> None:
        self._store.run_script(
            lua_scripts.RECORD_JOB,
            keys=(self._store.key("jobs"), self._store.key("jobs", "history", name)),
            arguments=(name, msgspec.json.encode(state), run, RUNS_KEPT),
            purpose=f"history of {name}",
        )


def list_jobs(reader: IndexReader) -> list[JobView]:
    """List the jobs by name, including those that no leader ever ran."""
    encoded: Any = reader.redis.hgetall(reader.key("jobs"))
    fields = {name.decode(): value for name, value in encoded.items()}
    names = sorted({*job_names(), *(name for name in fields if ":" not in name)})
    return [_job_view(name, fields) for name in names]


def paused_jobs(reader: IndexReader) -> set[str]:
    """Return the names of the jobs that are paused."""
    names: Any = reader.redis.hkeys(reader.key("jobs"))
    return {name.decode().removesuffix(_PAUSED) for name in names if name.endswith(_PAUSED.encode())}


def run_history(reader: IndexReader, name: str, count: int = RUNS_KEPT) -> list[JobRun]:
    """Return the last runs of a job, newest first."""
    blobs: Any = reader.redis.lrange(reader.key("jobs", "history", name), 0, count - 1)
    return [msgspec.json.decode(blob, type=JobRun) for blob in blobs]


def _job_view(name: str, fields: dict[str, bytes]) -> JobView:
    state = msgspec.json.decode(fields[name], type=JobState) if name in fields else JobState(every=0.0)
    return JobView(name=name, state=state, runs=int(fields.get(name + _RUNS, 0)), paused=name + _PAUSED in fields)
