"""Control requests about jobs: anybody writes them to a stream, the leader alone handles them."""

from __future__ import annotations

import logging
import time
from enum import StrEnum
from typing import Any, Protocol

import msgspec

from hsnn.indexer import metrics
from hsnn.indexer.errors import UnknownJobError
from hsnn.indexer.jobs.history import RunTrigger, job_names
from hsnn.indexer.store import lua_scripts
from hsnn.indexer.store.lease import default_owner
from hsnn.indexer.store.publish_hold import current_hold
from hsnn.indexer.store.reader import IndexReader
from hsnn.indexer.store.streams import STREAM_START, StreamEntry, entry_order, scan_entries
from hsnn.indexer.store.writer import IndexStore
from hsnn.monitoring.audit import AuditTrail

_log = logging.getLogger(__name__)

# Requests kept in the stream, about; handled ones are kept for people who read it.
_REQUESTS_KEPT = 1000

# Seconds between two checks whether the leader has handled a request: too short for a person to notice.
_POLL_SECONDS = 0.02


class ControlOp(StrEnum):
    """What a request asks of a job; the values are written to Redis."""

    RUN = "run"
    PAUSE = "pause"
    RESUME = "resume"


class ControlRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody asks for a job to be run now, paused or resumed; `at` is epoch ms."""

    op: ControlOp
    job: str
    by: str
    at: int


class JobControl(Protocol):
    """The part of `hsnn.indexer.jobs.runner.JobRunner` that requests need."""

    def trigger(self, name: str, trigger: RunTrigger = RunTrigger.CALLED) -> None:
        """Run a job now."""

    def pause(self, name: str) -> None:
        """Start no more runs of a job."""

    def resume(self, name: str) -> None:
        """Run a job again; at once if a run was due meanwhile."""


def send_request(reader: IndexReader, op: ControlOp, job: str) -> str:
    """Write a request to the stream; return its id, for `await_leader`.

    Raises
    ------
    UnknownJobError
        There is no such job.
    """
    if job not in job_names():
        raise UnknownJobError(f"there is no job {job!r} to {op}; the jobs are {', '.join(job_names())}")
    request = ControlRequest(op=op, job=job, by=default_owner(), at=time.time_ns() // 1_000_000)
    blob = msgspec.json.encode(request)
    entry: Any = reader.redis.xadd(reader.key("jobs", "requests"), {"d": blob}, maxlen=_REQUESTS_KEPT, approximate=True)
    return str(entry.decode())


def await_leader(reader: IndexReader, request: str, timeout: float) -> bool:
    """Wait up to `timeout` seconds until the leader has handled a request; False if it has not."""
    deadline = time.monotonic() + timeout
    while entry_order(_position(reader)) < entry_order(request):
        if time.monotonic() >= deadline:
            return False
        time.sleep(_POLL_SECONDS)
    return True


class ControlRequestHandler:
    """Handles requests, in order, from where the last leader stopped.

    What lasts (the position, which jobs are paused) is changed by one script that checks the fencing token; the runner
    of this process is told only after that. So a former leader handles nothing.

    Parameters
    ----------
    store
        With the lease.
    audit
        Told of every request.
    runner
        Runs, pauses and resumes.
    """

    def __init__(self, store: IndexStore, audit: AuditTrail, runner: JobControl) -> None:
        self._store, self._audit, self._runner = store, audit, runner

    def handle_all(self) -> int:
        """Handle the open requests, and show whether publishing is held; return how many requests there were.

        Raises
        ------
        FencedError
            Another process leads; the request at hand is left to it.
        """
        count = 0
        for entry in scan_entries(self._store.redis, self._store.key("jobs", "requests"), _position(self._store)):
            count += self._handle(entry)
        metrics.HELD.set(current_hold(self._store) is not None)
        return count

    def _handle(self, entry: StreamEntry) -> bool:
        request = _decode(entry)
        op, job, blob = (request.op.value, request.job, entry.fields[b"d"]) if request else ("", "", b"")
        self._store.run_script(
            lua_scripts.HANDLE_REQUEST,
            keys=(self._store.key("jobs", "position"), self._store.key("jobs")),
            arguments=(entry.id, op, job, blob),
            purpose=f"request {entry.id}",
        )
        if request is None:
            return False
        self._tell_runner(request)
        self._audit.record("job", action=op, outcome="done", job=job, by=request.by)
        return True

    def _tell_runner(self, request: ControlRequest) -> None:
        match request.op:
            case ControlOp.RUN:
                self._runner.trigger(request.job, RunTrigger.BY_HAND)
            case ControlOp.PAUSE:
                self._runner.pause(request.job)
            case ControlOp.RESUME:
                self._runner.resume(request.job)


def _position(reader: IndexReader) -> str:
    position: Any = reader.redis.get(reader.key("jobs", "position"))
    return position.decode() if position else STREAM_START


def _decode(entry: StreamEntry) -> ControlRequest | None:
    try:
        request = msgspec.json.decode(entry.fields[b"d"], type=ControlRequest)
    except (KeyError, msgspec.MsgspecError) as error:
        _log.error("entry %s of %s is not a request and is skipped: %s", entry.id, entry.stream, error)
        return None
    if request.job not in job_names():
        _log.error("entry %s of %s asks for the unknown job %r", entry.id, entry.stream, request.job)
        return None
    return request
