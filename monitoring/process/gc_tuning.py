"""The garbage collector of a process that works without pause."""

from __future__ import annotations

import gc

_YOUNG, _MIDDLE, _OLD = 20_000, 20, 20


def freeze_heap() -> None:
    """Tell the collector that what is there now stays; call once, when a process has made what it needs.

    Python looks through everything that is alive each time enough new objects came, and libraries alone are some
    hundred thousand. In a consumer of many small events that took longer than to decode them. What is there
    already is never looked at again; it still goes when nobody refers to it, unless it refers to itself.

    Examples
    --------
    >>> before, thresholds = gc.get_freeze_count(), gc.get_threshold()
    >>> freeze_heap()
    >>> gc.get_freeze_count() > before
    True
    >>> gc.unfreeze(); gc.set_threshold(*thresholds)
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_YOUNG, _MIDDLE, _OLD)
