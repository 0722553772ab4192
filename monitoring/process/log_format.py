"""Log lines as text or as JSON, with ids that tie lines of several processes together."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

ID_FIELDS = ("worker", "request", "job", "run", "version", "snapshot", "epoch", "events")
"""Ids in lines of JSON, where they are known: of a worker of the server and of a call, of a job of the scheduler and
its run, of the index version and the trainer's snapshot that it comes from, and the epoch and number of events of that
snapshot."""

# A line of text.
_TEXT = "%(asctime)s %(levelname)s %(name)s: %(message)s"

_ids: ContextVar[dict[str, str | int] | None] = ContextVar("log_ids", default=None)


class LogFormat(StrEnum):
    """How log lines are written."""

    TEXT = "text"
    JSON = "json"


@contextmanager
def bound_ids(**ids: str | int) -> Iterator[None]:
    """Add ids to all lines that are logged inside, in this thread or task.

    Examples
    --------
    >>> with bound_ids(job="verify", run=7):
    ...     with bound_ids(version=3):
    ...         current_ids()
    {'job': 'verify', 'run': 7, 'version': 3}
    >>> current_ids()
    {}
    """
    token = _ids.set(current_ids() | ids)
    try:
        yield
    finally:
        _ids.reset(token)


def current_ids() -> dict[str, str | int]:
    """Return the ids that are bound here."""
    return _ids.get() or {}


def log_to_stderr(role: str, log_format: LogFormat) -> None:
    """Write the log lines of this process, a ``train``, ``schedule`` or ``serve``, to the standard error output."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter(role) if log_format is LogFormat.JSON else logging.Formatter(_TEXT))
    logging.basicConfig(level=logging.INFO, handlers=[handler])


def name_worker(number: int) -> None:
    """Say in every line from now on that it is of a worker of the server, by its number."""
    make = logging.getLogRecordFactory()

    def record(*args: Any, **kwargs: Any) -> logging.LogRecord:
        made = make(*args, **kwargs)
        made.worker = number
        return made

    logging.setLogRecordFactory(record)
    for handler in logging.getLogger().handlers:
        if not isinstance(handler.formatter, JsonFormatter):
            handler.setFormatter(logging.Formatter(_TEXT.replace("%(name)s", f"worker {number} %(name)s")))


class JsonFormatter(logging.Formatter):
    """Writes a record as one line of JSON: time, level, role, logger, message, ids, and the traceback if there is one.

    An id comes from `bound_ids`, or from the field of that name in the call's ``extra``.
    """

    def __init__(self, role: str) -> None:
        super().__init__()
        self._role = role

    def format(self, record: logging.LogRecord) -> str:
        """Write a record."""
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "role": self._role,
            "logger": record.name,
            "message": record.getMessage(),
        }
        line |= current_ids()
        line |= {name: getattr(record, name) for name in ID_FIELDS if hasattr(record, name)}
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False, default=str)
