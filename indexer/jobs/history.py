"""The journal: what each job did last, how often, for how long and for whom; written by the leader, bounded."""

from __future__ import annotations

from typing import Any

import msgspec

from hsnn.indexer.progress import Progress
from hsnn.indexer.store import lua_scripts
from hsnn.indexer.store.reader import IndexReader
from hsnn.indexer.store.writer import IndexStore
from hsnn.monitoring.audit import AuditTrail

HISTORY = 200
"""Runs kept per job."""
_RUNS, _PAUSED = ":runs", ":paused"

JOBS = ("alarms", "clean", "rebalance", "refresh", "settle", "sweep", "verify")
"""The jobs that people may run, pause and resume."""


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """One run of a job.

    Attributes
    ----------
    started
        Wall time, epoch ms.
    seconds
        How long it took.
    outcome
        ``done``, ``failed``, ``fenced``, ``stopped`` (the process ended), ``held``, ``overrun`` (stopped at a safe
        point after its time limit).
    who
        ``called`` (a stream had news), ``swept`` (its time had come), ``by hand``.
    detail
        The sentence of what went wrong.
    """

    started: int
    seconds: float
    outcome: str
    who: str
    detail: str = ""


class Running(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A run that goes on: since when (epoch ms), and how far it is if it says so."""

    since: int
    progress: Progress | None = None


class JobState(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What the leader says of a job: its interval in seconds, its last run, since when a run is over its limit.

    `running` is there while a run takes longer than a moment.
    """

    every: float
    last: Run | None = None
    overrun_since: int | None = None
    running: Running | None = None


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """A job as people see it; `next_at` is epoch ms, None while it is paused or never ran."""

    name: str
    state: JobState
    runs: int
    paused: bool

    @property
    def next_at(self) -> int | None:
        """About when the next sweep is due: an interval after the last start, and up to `indexer.jitter` later."""
        last = self.state.last
        return None if self.paused or last is None else last.started + round(1000 * self.state.every)


class Journal:
    """The leader's pen: every line is written by a script that checks its fencing token.

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

    def note(self, name: str, every: float, run: Run) -> None:
        """Add a run that ended.

        Raises
        ------
        FencedError
            Somebody else leads; nothing was written.
        """
        self._write(name, JobState(every=every, last=run), msgspec.json.encode(run))

    def running(self, name: str, every: float, run: Running, *, over: bool = False) -> None:
        """Show a run that goes on; `over` its limit or not.

        Raises
        ------
        FencedError
            Somebody else leads; nothing was written.
        """
        last = history(self._store, name, 1)
        since = run.since if over else None
        self._write(name, JobState(every=every, last=last[0] if last else None, overrun_since=since, running=run), b"")

    def overrun(self, name: str, every: float, started: int, limit: float) -> None:
        """Raise the alarm about a run that goes on beyond its limit of seconds.

        Raises
        ------
        FencedError
            Somebody else leads; nothing was written.
        """
        last = history(self._store, name, 1)
        self._write(name, JobState(every=every, last=last[0] if last else None, overrun_since=started), b"")
        self._audit.record(
            "alarm",
            kind="job_overrun",
            alarm=f"job_overrun:{name}:{started}",
            ts=started,
            job=name,
            limit=limit,
            text=f"{name} runs longer than {limit:g} s; it is stopped at its next safe point",
        )

    def overran(self, name: str, run: Run) -> None:
        """Put on record how a run ended that the alarm was raised about."""
        self._audit.record(
            "outcome",
            kind="job_overrun",
            alarm=f"job_overrun:{name}:{run.started}",
            action="stop",
            outcome=run.outcome,
            job=name,
            seconds=run.seconds,
        )

    def _write(self, name: str, state: JobState, run: bytes) -> None:
        keys = (self._store.key("jobs"), self._store.key("jobs", "history", name))
        arguments = (name, msgspec.json.encode(state), run, HISTORY)
        self._store.write(lua_scripts.NOTE, keys, arguments, f"journal of {name}")


def jobs_of(reader: IndexReader) -> list[Job]:
    """List the jobs, by name; those that no leader ever ran, too."""
    found: Any = reader.redis.hgetall(reader.key("jobs"))
    fields = {name.decode(): value for name, value in found.items()}
    names = sorted({*JOBS, *(name for name in fields if ":" not in name)})
    return [_job(name, fields) for name in names]


def paused_jobs(reader: IndexReader) -> set[str]:
    """Names of the jobs that are paused."""
    names: Any = reader.redis.hkeys(reader.key("jobs"))
    return {name.decode().removesuffix(_PAUSED) for name in names if name.endswith(_PAUSED.encode())}


def history(reader: IndexReader, name: str, count: int = HISTORY) -> list[Run]:
    """Return the last runs of a job, newest first."""
    blobs: Any = reader.redis.lrange(reader.key("jobs", "history", name), 0, count - 1)
    return [msgspec.json.decode(blob, type=Run) for blob in blobs]


def _job(name: str, fields: dict[str, bytes]) -> Job:
    state = msgspec.json.decode(fields[name], type=JobState) if name in fields else JobState(every=0.0)
    return Job(name=name, state=state, runs=int(fields.get(name + _RUNS, 0)), paused=name + _PAUSED in fields)
