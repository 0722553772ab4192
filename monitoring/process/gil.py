"""How long a thread keeps the interpreter's lock when others wait for it."""

from __future__ import annotations

import sys

_TURN = 0.0005


def shorten_switch_interval() -> None:
    """Let threads change places after half a millisecond; call once, when a process begins.

    Python's five milliseconds are what a thread that answers, or follows a stream, waits each time it comes back from
    the network while another one computes, and it comes back many times for each item.

    Examples
    --------
    >>> before = sys.getswitchinterval()
    >>> shorten_switch_interval()
    >>> sys.getswitchinterval() < 0.001
    True
    >>> sys.setswitchinterval(before)
    """
    sys.setswitchinterval(_TURN)
