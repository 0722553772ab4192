"""Deadlines of jobs: work looks at its own where it can stop without leaving half a write.

The deadline belongs to the thread that runs the job, so that what a job calls need not pass it on. Where it is looked
at: between chunks of items that are encoded (`hsnn.indexer.assign.assigner`), before a version is written aside and
before the flip (`hsnn.indexer.build.builder`), before deltas are written (`hsnn.indexer.jobs.index_jobs`), between
alarms, between removals, between the looks of a verification. Never between two writes that belong together: those are
one script.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from hsnn.indexer.errors import OverrunError

_END: ContextVar[tuple[float, float] | None] = ContextVar("end", default=None)


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """Give what runs inside, in this thread, so many seconds.

    Examples
    --------
    >>> with within(60.0):
    ...     safe_point("before the flip")
    """
    token = _END.set((time.monotonic() + seconds, seconds))
    try:
        yield
    finally:
        _END.reset(token)


def safe_point(where: str) -> None:
    """Stop here if the job's time is over; nothing outside of jobs.

    Raises
    ------
    OverrunError
        It is over; the text says where the job was.
    """
    end = _END.get()
    if end is not None and time.monotonic() >= end[0]:
        raise OverrunError(
            f"stopped {where}, after its limit of {end[1]:g} s; nothing is half written, the next run begins anew; "
            "if it never ends in time, raise indexer.job_timeout"
        )
