"""Context of the job that runs in this thread: its deadline, and who is told of its progress.

Both are context variables, so the functions that a job calls need no extra parameter. Outside a job both are absent and
`check_deadline` and `report_progress` do nothing.

The deadline is checked only where a job can stop without leaving half a write behind: between two chunks of items that
are encoded, before a version is written and before the flip to it, before deltas are written, between two alarms,
between two removals, between two passes of a verification. Writes that belong together are one script, so there is no
check between them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import NamedTuple

import msgspec

from hsnn.indexer.errors import JobTimeoutError


class JobProgress(msgspec.Struct, frozen=True):
    """How far a job is: `done` of `total` units of `what`."""

    what: str
    done: int
    total: int


ProgressCallback = Callable[[JobProgress], None]


class _Deadline(NamedTuple):
    """End of a job by the monotonic clock, and the limit it was derived from; both in seconds."""

    end: float
    limit: float


# Of the job that runs in this thread, so that its functions need not hand them on.
_DEADLINE: ContextVar[_Deadline | None] = ContextVar("deadline", default=None)
_CALLBACK: ContextVar[ProgressCallback | None] = ContextVar("progress_callback", default=None)


@contextmanager
def deadline(seconds: float) -> Iterator[None]:
    """Limit the time of the block, in this thread, to `seconds`; `check_deadline` enforces it.

    Examples
    --------
    >>> with deadline(60.0):
    ...     check_deadline("before the flip")
    """
    token = _DEADLINE.set(_Deadline(time.monotonic() + seconds, seconds))
    try:
        yield
    finally:
        _DEADLINE.reset(token)


def check_deadline(where: str) -> None:
    """Stop the job here if its time is over.

    Raises
    ------
    JobTimeoutError
        The time is over; the text says `where` the job was.
    """
    current = _DEADLINE.get()
    if current is not None and time.monotonic() >= current.end:
        raise JobTimeoutError(
            f"stopped {where}, after its limit of {current.limit:g} s; nothing is half written, the next run begins "
            "anew; if it never ends in time, raise indexer.job_timeout"
        )


@contextmanager
def progress_reported_to(callback: ProgressCallback) -> Iterator[None]:
    """Have `callback` called with every progress report of the block, in this thread.

    Examples
    --------
    >>> with progress_reported_to(print):
    ...     report_progress("items encoded", 3, 7)
    JobProgress(what='items encoded', done=3, total=7)
    >>> report_progress("outside a job", 1, 2)
    """
    token = _CALLBACK.set(callback)
    try:
        yield
    finally:
        _CALLBACK.reset(token)


def report_progress(what: str, done: int, total: int) -> None:
    """Report how far the job of this thread is."""
    callback = _CALLBACK.get()
    if callback is not None:
        callback(JobProgress(what, done, total))
