"""Progress of jobs: work says how far it is, whoever supervises looks; nothing is passed on from call to call.

As with deadlines (`hsnn.indexer.deadline`), the place where it is noted belongs to the thread that runs the job.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import msgspec


class Progress(msgspec.Struct, frozen=True):
    """So much of so much of something is done."""

    what: str
    done: int
    total: int


Note = Callable[[Progress], None]
_NOTE: ContextVar[Note | None] = ContextVar("note", default=None)


@contextmanager
def followed(note: Note) -> Iterator[None]:
    """Have `note` called with what is said inside, in this thread.

    Examples
    --------
    >>> with followed(print):
    ...     so_far("items encoded", 3, 7)
    Progress(what='items encoded', done=3, total=7)
    >>> so_far("nobody listens", 1, 2)
    """
    token = _NOTE.set(note)
    try:
        yield
    finally:
        _NOTE.reset(token)


def so_far(what: str, done: int, total: int) -> None:
    """Say how far the job of this thread is; nothing outside of jobs."""
    note = _NOTE.get()
    if note is not None:
        note(Progress(what, done, total))
