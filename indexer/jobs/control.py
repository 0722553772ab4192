"""Requests of people about jobs: anybody asks through a stream, the leader alone carries out."""

from __future__ import annotations

import logging
import time
from typing import Any, Literal, Protocol

import msgspec

from hsnn.indexer import metrics
from hsnn.indexer.errors import RequestError
from hsnn.indexer.jobs.history import JOBS
from hsnn.indexer.store import lua_scripts
from hsnn.indexer.store.lease import default_owner
from hsnn.indexer.store.publish_hold import standing_hold
from hsnn.indexer.store.reader import IndexReader
from hsnn.indexer.store.streams import START, Entry, follow, order
from hsnn.indexer.store.writer import IndexStore
from hsnn.monitoring.audit import AuditTrail

_log = logging.getLogger(__name__)
_KEPT = 1000
_POLL = 0.02

NAME = "requests"
"""The job that carries requests out; it cannot be paused, or nothing could be resumed."""
Op = Literal["run", "pause", "resume"]


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody asks for a job to be run now, paused or resumed; `at` is epoch ms."""

    op: Op
    job: str
    by: str
    at: int


class JobControl(Protocol):
    """What requests need of `hsnn.indexer.jobs.runner.Workshop`."""

    def wake(self, name: str, who: str = "called") -> None:
        """Have a job run now."""

    def pause(self, name: str) -> None:
        """Start no run of a job any more."""

    def resume(self, name: str) -> None:
        """Run a job again; at once if a run was due meanwhile."""


def ask(reader: IndexReader, op: Op, job: str) -> str:
    """Put a request into the stream; return its id, for `await_leader`.

    Raises
    ------
    RequestError
        There is no such job.
    """
    if job not in JOBS:
        raise RequestError(f"there is no job {job!r} to {op}; the jobs are {', '.join(JOBS)}")
    request = Request(op=op, job=job, by=default_owner(), at=time.time_ns() // 1_000_000)
    blob = msgspec.json.encode(request)
    entry: Any = reader.redis.xadd(reader.key("jobs", "requests"), {"d": blob}, maxlen=_KEPT, approximate=True)
    return str(entry.decode())


def await_leader(reader: IndexReader, request: str, patience: float) -> bool:
    """Wait up to `patience` seconds until the leader has carried a request out; False if it has not."""
    deadline = time.monotonic() + patience
    while order(_position(reader)) < order(request):
        if time.monotonic() >= deadline:
            return False
        time.sleep(_POLL)
    return True


class Requests:
    """Carries requests out, in order, from where the last leader stopped.

    What lasts (the position, which jobs are paused) changes in one script that checks the fencing token; only then this
    process's workshop is told. A former leader therefore carries out nothing.

    Parameters
    ----------
    store
        With the lease.
    audit
        Told of every request.
    workshop
        Runs, pauses and resumes.
    """

    def __init__(self, store: IndexStore, audit: AuditTrail, workshop: JobControl) -> None:
        self._store, self._audit, self._workshop = store, audit, workshop

    def carry_out(self) -> int:
        """Carry out what is open, and show whether publishing is held; return how many requests that were.

        Raises
        ------
        FencedError
            Somebody else leads; the request at hand is left for them.
        """
        count = 0
        for entry in follow(self._store.redis, self._store.key("jobs", "requests"), _position(self._store)):
            count += self._carry_out(entry)
        metrics.HELD.set(standing_hold(self._store) is not None)
        return count

    def _carry_out(self, entry: Entry) -> bool:
        request = _read(entry)
        keys = (self._store.key("jobs", "position"), self._store.key("jobs"))
        op, job, blob = (request.op, request.job, entry.fields[b"d"]) if request else ("", "", b"")
        self._store.write(lua_scripts.REQUEST, keys, (entry.id, op, job, blob), f"request {entry.id}")
        if request is None:
            return False
        self._tell(request)
        self._audit.record("job", action=op, outcome="done", job=job, by=request.by)
        return True

    def _tell(self, request: Request) -> None:
        if request.op == "run":
            self._workshop.wake(request.job, "by hand")
        elif request.op == "pause":
            self._workshop.pause(request.job)
        else:
            self._workshop.resume(request.job)


def _position(reader: IndexReader) -> str:
    at: Any = reader.redis.get(reader.key("jobs", "position"))
    return at.decode() if at else START


def _read(entry: Entry) -> Request | None:
    try:
        request = msgspec.json.decode(entry.fields[b"d"], type=Request)
    except (KeyError, msgspec.MsgspecError) as error:
        _log.error("entry %s of %s is no request and is passed over: %s", entry.id, entry.stream, error)
        return None
    if request.job not in JOBS:
        _log.error("entry %s of %s asks for the unknown job %r", entry.id, entry.stream, request.job)
        return None
    return request
