"""Poll a log and decode what came, in pieces that fit the processor's cache, until there are enough rows."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

from hsnn.monitoring.process.failpoints import failpoint
from hsnn.streaming.decode.event_table import EventTable
from hsnn.streaming.log.base import EventLog
from hsnn.streaming.log.records import Position, RecordBatch

ROWS_PER_READ = 8192
"""Rows after which a read ends though the log holds more: the consumer merges them before it reads on."""

MAX_RECORDS = 1024
"""Records of one poll: more would leave the processor's cache before they are decoded."""

ROWS_PER_POLL = 4096
"""Events of one poll, where a record holds many: they fit the processor's cache, too."""

BYTES_PER_POLL = 8 << 20
"""Bytes of one poll, where records are large: bounds the memory of what is read at once."""

# Records of the first poll, while nothing is known of their size: few, as each may hold a hundred thousand events.
_FIRST_RECORDS = 64

Decode = Callable[[Position, RecordBatch], EventTable]
"""Decodes records of one partition; raises nothing."""


class FetchSize:
    """Decides how many records to ask for, when one may hold a single event or a hundred thousand.

    It asks for as many as should hold `ROWS_PER_POLL` events and `BYTES_PER_POLL` bytes, going by the last ones that
    came, and for `MAX_RECORDS` at most.

    Examples
    --------
    >>> from hsnn.streaming.log.records import Record
    >>> fetch_size = FetchSize()
    >>> fetch_size.records
    64
    >>> came = [Record("t", 0, offset, None, b"x" * 100, (), 0) for offset in range(64)]
    >>> fetch_size.update([RecordBatch.from_records(came)], rows=64 * 512)
    >>> fetch_size.records
    8
    """

    def __init__(self) -> None:
        self.records = _FIRST_RECORDS

    def update(self, came: Sequence[RecordBatch], rows: int) -> None:
        """Adapt to the records that came, which held so many events."""
        if came:
            count, size = sum(map(len, came)), sum(records.size for records in came)
            fitting = min(ROWS_PER_POLL * count // max(1, rows), BYTES_PER_POLL * count // max(1, size))
            self.records = max(1, min(MAX_RECORDS, fitting))


class Poller:
    """Polls a log for one reader.

    Parameters
    ----------
    event_log
        Nobody else may poll or seek it.
    decode
    """

    def __init__(self, event_log: EventLog, decode: Decode) -> None:
        self._log, self._decode = event_log, decode
        self._fetch_size = FetchSize()
        self._error: Exception | None = None

    def reset(self) -> None:
        """Forget an error that was not raised yet: the log was sought."""
        self._error = None

    def read(self, timeout: float, partitions: Collection[Position]) -> list[tuple[Position, EventTable]]:
        """Read some partitions until `ROWS_PER_READ` rows came or no more are there; wait `timeout` s for the first.

        Raises
        ------
        Exception
            What the log raised; if that was after rows were read, with the next call.
        """
        if self._error is not None:
            error, self._error = self._error, None
            raise error
        tables: dict[Position, list[EventTable]] = {}
        count = 0
        while count < ROWS_PER_READ:
            asked = self._fetch_size.records
            try:
                polled = self._poll(asked, 0.0 if tables else timeout, partitions)
            except Exception as error:
                if not tables:
                    raise
                self._error = error
                break
            decoded = [self._decode(records.position, records) for records in polled]
            for records, table in zip(polled, decoded, strict=True):
                tables.setdefault(records.position, []).append(table)
            rows = sum(map(len, decoded))
            self._fetch_size.update(polled, rows)
            count += rows
            # A log divides what it is asked for between the partitions. Less than one share: there is no more in any.
            if sum(map(len, polled)) < max(1, asked // max(1, len(partitions))):
                break
        return [(position, EventTable.concat(parts)) for position, parts in tables.items()]

    def _poll(self, count: int, timeout: float, partitions: Collection[Position]) -> list[RecordBatch]:
        failpoint("poll")
        polled = self._log.poll(count, timeout, partitions)
        failpoint("poll")
        return polled
