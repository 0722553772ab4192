"""What an operator does from the console: jobs, holds, rollback. The same operations as on the command line."""

from __future__ import annotations

from typing import Any

import msgspec

from hsnn.indexer.admin import operations
from hsnn.indexer.config import IndexerConfig
from hsnn.indexer.errors import RollbackError, UnknownJobError, VersionNotFoundError
from hsnn.indexer.jobs.control import ControlOp, await_leader, send_request
from hsnn.indexer.jobs.history import list_jobs, run_history
from hsnn.indexer.store.reader import IndexReader
from hsnn.serving.errors import ConsoleError

# Seconds to wait for a leader to take a request: it looks for requests every second or so, unless it is busy.
_LEADER_SECONDS = 5.0

# Entries of the audit trail that the timeline shows.
_ENTRIES_SHOWN = 300

# Runs of a job that are shown.
_RUNS_SHOWN = 50


def timeline(reader: IndexReader) -> list[dict[str, Any]]:
    """Return the last entries of the audit trail, newest first."""
    return [msgspec.to_builtins(entry) for entry in reversed(operations.open_audit_trail(reader).read(_ENTRIES_SHOWN))]


def jobs(reader: IndexReader) -> list[dict[str, Any]]:
    """Return every job with its state and its last runs, newest first."""
    return [
        {
            "name": job.name,
            "every": job.state.every,
            "runs": job.runs,
            "paused": job.paused,
            "next_at": job.next_at,
            "overrun_since": job.state.overrun_since,
            "running": None if job.state.running is None else msgspec.to_builtins(job.state.running),
            "history": [msgspec.to_builtins(run) for run in run_history(reader, job.name, _RUNS_SHOWN)],
        }
        for job in list_jobs(reader)
    ]


def ask_job(reader: IndexReader, name: str, op: str) -> dict[str, Any]:
    """Ask the leader to run, pause or resume a job; return whether it has taken the request within five seconds.

    Raises
    ------
    ConsoleError
        There is no such job.
    """
    try:
        request = send_request(reader, ControlOp(op), name)
    except UnknownJobError as error:
        raise ConsoleError(str(error), 404) from error
    return {"taken": await_leader(reader, request, _LEADER_SECONDS)}


def roll_back(reader: IndexReader, config: IndexerConfig, version: int, hold: bool) -> dict[str, Any]:
    """Switch readers back to an older version, and hold publishing if `hold`.

    Raises
    ------
    ConsoleError
        The version cannot be rolled back to.
    """
    reason = f"rolled back to version {version}" if hold else ""
    try:
        operations.rollback(reader.redis, version, config, reason)
    except (RollbackError, VersionNotFoundError) as error:
        raise ConsoleError(str(error), 409) from error
    return {"current": version}


def hold(reader: IndexReader, reason: str) -> dict[str, Any]:
    """Hold publishing; deltas go on."""
    return {"hold": msgspec.to_builtins(operations.hold_publishing(reader.redis, reason))}


def release(reader: IndexReader) -> dict[str, Any]:
    """End the hold; return whether there was one."""
    return {"lifted": operations.release_publishing(reader.redis)}
