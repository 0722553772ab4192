"""Named moments of a process's work, for those who must interrupt it exactly there.

A crash test kills the trainer at such a moment, a test counts them. Without a hook a call costs tens of nanoseconds,
and it is made some times per batch and checkpoint, never per event.
"""

from __future__ import annotations

from collections.abc import Callable

FAILPOINTS = ("poll", "step", "write", "fsync", "rename", "publish", "commit")
"""Of the trainer, in the order in which an event meets them: just before each is done, and again when it is done."""

_hook: Callable[[str], None] | None = None


def failpoint(phase: str) -> None:
    """Tell the hook, if there is one, that this process is at `phase`; called by whichever thread is there."""
    if _hook is not None:
        _hook(phase)


def set_failpoint_hook(hook: Callable[[str], None] | None) -> None:
    """Call `hook` with the name of every phase that this process reaches from now on; None: nothing more.

    Examples
    --------
    >>> seen = []
    >>> set_failpoint_hook(seen.append)
    >>> failpoint("poll")
    >>> set_failpoint_hook(None)
    >>> failpoint("step")
    >>> seen
    ['poll']
    """
    global _hook
    _hook = hook
