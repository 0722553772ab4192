"""Garbage collector settings of a long-running process."""

from __future__ import annotations

import gc

# Thresholds of the three generations: allocations before a young collection, and collections of each generation before
# one of the next. Python's 700, 10, 10 collect many times per batch of small events.
_THRESHOLDS = (20_000, 20, 20)


def freeze_heap() -> None:
    """Exclude all existing objects from garbage collection; call once, when a process has built what it needs.

    A full collection traverses all live objects, and those of the libraries alone are some hundred thousand: in a
    consumer of small events that took longer than decoding them. Frozen objects are still freed by reference counting;
    only cycles of them are not.

    Examples
    --------
    >>> before, thresholds = gc.get_freeze_count(), gc.get_threshold()
    >>> freeze_heap()
    >>> gc.get_freeze_count() > before
    True
    >>> gc.set_threshold(*thresholds)
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_THRESHOLDS)
