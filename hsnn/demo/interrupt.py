"""Handle Ctrl+C: the first one requests a graceful end, a second one ends the process at once."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any

INTERRUPTED = 130
"""Exit status of a run that was ended by Ctrl+C, as shells have it."""

_SHOW_CURSOR = "\x1b[?25h"


class Interrupt:
    """Handle SIGINT and SIGTERM inside a with statement.

    Parameters
    ----------
    at_once
        Called at the second signal, just before the process ends; must not block.
    """

    def __init__(self, at_once: Callable[[], None]) -> None:
        self._at_once = at_once
        self._received = 0
        self._before: dict[int, Any] = {}

    def asked(self) -> bool:
        """Return whether the run was asked to end."""
        return self._received > 0

    def __enter__(self) -> Interrupt:
        self._before = {number: signal.signal(number, self._handle) for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002 - the signature is signal's
        self._received += 1
        if self._received > 1:
            self._at_once()
            if sys.stdout.isatty():
                os.write(1, _SHOW_CURSOR.encode())
            os._exit(INTERRUPTED)
