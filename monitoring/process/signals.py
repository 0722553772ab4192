"""Graceful shutdown: SIGTERM or SIGINT sets an event, a second signal ends the process at once."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event, current_thread, main_thread
from types import FrameType


@contextmanager
def stop_on_signals(stop: Event | None = None) -> Iterator[Event]:
    """Set `stop` (or a new event) at the first signal; restore the previous handlers on exit.

    Outside the main thread, where Python handles no signals, only the event is yielded.

    Examples
    --------
    >>> with stop_on_signals() as stop:
    ...     signal.raise_signal(signal.SIGTERM)
    ...     stop.is_set()
    True
    """
    stop = stop or Event()

    def request_stop(number: int, _frame: FrameType | None) -> None:
        stop.set()
        signal.signal(number, signal.SIG_DFL)

    signals = (signal.SIGTERM, signal.SIGINT) if current_thread() is main_thread() else ()
    before = {number: signal.signal(number, request_stop) for number in signals}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
