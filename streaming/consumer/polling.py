"""Polls of a log, each decoded while what came lies in the processor's cache, until there are rows enough."""

from __future__ import annotations

from collections.abc import Callable, Collection

from hsnn.monitoring.process.failpoints import reached
from hsnn.streaming.consumer.fetch_size import Appetite
from hsnn.streaming.decode.rows import Rows, concat
from hsnn.streaming.log.base import EventLog
from hsnn.streaming.log.records import Position, Records

ENOUGH = 8192
"""Rows after which it is not polled again for the same who waits."""

Decode = Callable[[Position, Records], Rows]


class Polling:
    """Reads a log for one reader.

    Parameters
    ----------
    event_log
        Nobody else may poll or seek it.
    decode
        Makes rows of some records of one partition; raises nothing.
    """

    def __init__(self, event_log: EventLog, decode: Decode) -> None:
        self._log, self._decode = event_log, decode
        self._appetite = Appetite()
        self._error: Exception | None = None

    def begin(self) -> None:
        """Forget what went wrong: the log was sought."""
        self._error = None

    def read(self, timeout: float, partitions: Collection[Position]) -> list[tuple[Position, Rows]]:
        """Rows of some partitions, as many as there are, `ENOUGH` or a poll more; waits for the first of them.

        Raises
        ------
        Exception
            What the log raised; after rows were read, with the next call.
        """
        if self._error is not None:
            error, self._error = self._error, None
            raise error
        found: dict[Position, list[Rows]] = {}
        count = 0
        while count < ENOUGH:
            asked = self._appetite.records
            try:
                polled = self._polled(asked, 0.0 if found else timeout, partitions)
            except Exception as error:
                if not found:
                    raise
                self._error = error
                break
            rows = [self._decode(records.position, records) for records in polled]
            for records, some in zip(polled, rows, strict=True):
                found.setdefault(records.position, []).append(some)
            came = sum(map(len, rows))
            self._appetite.note(polled, came)
            count += came
            if sum(map(len, polled)) < max(1, asked // max(1, len(partitions))):
                break  # of no partition is there more
        return [(position, concat(some)) for position, some in found.items()]

    def _polled(self, count: int, timeout: float, partitions: Collection[Position]) -> list[Records]:
        reached("poll")
        polled = self._log.poll(count, timeout, partitions)
        reached("poll")
        return polled
