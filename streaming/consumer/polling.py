"""Polls of a log, each decoded while what came lies in the processor's cache, until there are rows enough."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

from hsnn.monitoring.process.failpoints import reached
from hsnn.streaming.decode.rows import Rows, concat
from hsnn.streaming.log.base import EventLog
from hsnn.streaming.log.records import Position, Records

ROWS_PER_READ = 8192
"""Rows after which it is not polled again for the same who waits."""

MAX_RECORDS = 1024
"""Records of one poll: more would only leave the processor's cache before they are decoded."""

ROWS_PER_POLL = 4096
"""Events of one poll, where a record holds many."""

BYTES_PER_POLL = 8 << 20
"""Size of what is read at once."""

_FIRST = 64

Decode = Callable[[Position, Records], Rows]


class FetchSize:
    """Asks for as many records as should hold `ROWS_PER_POLL` events and `BYTES_PER_POLL` bytes, going by those that came last.

    It asks for `MAX_RECORDS` at most.

    Examples
    --------
    >>> from hsnn.streaming.log.records import Record
    >>> appetite = Appetite()
    >>> appetite.records
    64
    >>> appetite.note([Records.of([Record("t", 0, at, None, b"x" * 100, (), 0) for at in range(64)])], rows=64 * 512)
    >>> appetite.records
    8
    """

    def __init__(self) -> None:
        self.records = _FIRST

    def update(self, found: Sequence[Records], rows: int) -> None:
        """Learn from what came: records with so many events."""
        if found:
            count, size = sum(map(len, found)), sum(records.size for records in found)
            fit = min(ROWS_PER_POLL * count // max(1, rows), BYTES_PER_POLL * count // max(1, size))
            self.records = max(1, min(MAX_RECORDS, fit))


class Poller:
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
        self._fetch_size = FetchSize()
        self._error: Exception | None = None

    def reset(self) -> None:
        """Forget what went wrong: the log was sought."""
        self._error = None

    def read(self, timeout: float, partitions: Collection[Position]) -> list[tuple[Position, Rows]]:
        """Rows of some partitions, as many as there are, `ROWS_PER_READ` or a poll more; waits for the first of them.

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
        while count < ROWS_PER_READ:
            asked = self._fetch_size.records
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
            self._fetch_size.update(polled, came)
            count += came
            if sum(map(len, polled)) < max(1, asked // max(1, len(partitions))):
                break  # of no partition is there more
        return [(position, concat(some)) for position, some in found.items()]

    def _polled(self, count: int, timeout: float, partitions: Collection[Position]) -> list[Records]:
        reached("poll")
        polled = self._log.poll(count, timeout, partitions)
        reached("poll")
        return polled
