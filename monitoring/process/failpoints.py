"""Failpoints: named places in the code where a test can interrupt the process.

The crash test kills the trainer at a failpoint, other tests count them. Without a hook a call costs tens of
nanoseconds; there are a few calls per batch and checkpoint, none per event.
"""

from __future__ import annotations

from collections.abc import Callable

FAILPOINTS = ("poll", "step", "write", "fsync", "rename", "publish", "commit")
"""Failpoints of the trainer in the order of an event's way; each is called just before the step and just after it."""

_hook: Callable[[str], None] | None = None


def failpoint(name: str) -> None:
    """Call the hook, if there is one, with the name of this failpoint; runs in the calling thread."""
    if _hook is not None:
        _hook(name)


def set_failpoint_hook(hook: Callable[[str], None] | None) -> None:
    """Call `hook` with the name of every failpoint from now on; None removes it.

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
