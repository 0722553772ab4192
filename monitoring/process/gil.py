"""Switch interval of the global interpreter lock (GIL)."""

from __future__ import annotations

import sys

# Seconds that a thread may keep the GIL while others wait; Python's default is 0.005.
_SWITCH_INTERVAL = 0.0005


def shorten_switch_interval() -> None:
    """Set the switch interval to half a millisecond; call once, when a process starts.

    With Python's five milliseconds, a thread that serves requests or follows a stream waits that long after every
    network call while another thread computes, and it makes many such calls per item.

    Examples
    --------
    >>> before = sys.getswitchinterval()
    >>> shorten_switch_interval()
    >>> sys.getswitchinterval() < 0.001
    True
    >>> sys.setswitchinterval(before)
    """
    sys.setswitchinterval(_SWITCH_INTERVAL)
