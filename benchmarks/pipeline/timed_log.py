"""A log that counts the seconds its polls take."""

from __future__ import annotations

import time
from collections.abc import Collection
from typing import Any

from hsnn.streaming.log.base import EventLog
from hsnn.streaming.log.records import Position, RecordBatch


class TimedLog:
    """Passes everything on to another log.

    Attributes
    ----------
    seconds : float
        Spent in `poll` so far.
    """

    def __init__(self, event_log: EventLog) -> None:
        self._inner, self.seconds = event_log, 0.0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def poll(
        self, max_records: int, timeout: float, partitions: Collection[Position] | None = None
    ) -> list[RecordBatch]:
        """Read the next records; see `EventLog.poll`."""
        began = time.perf_counter()
        try:
            return self._inner.poll(max_records, timeout, partitions)
        finally:
            self.seconds += time.perf_counter() - began
