"""How many records to ask for at once, when one may hold a single event or a hundred thousand."""

from __future__ import annotations

from collections.abc import Sequence

from streaming.log import Record

ROWS = 4096
"""Events read at once: more would only leave the processor's cache."""

BYTES = 8 << 20
"""Size of what is read at once."""

_FIRST = 64


class Appetite:
    """Asks for as many records as should hold `ROWS` events and `BYTES` bytes, going by those that came last.

    Examples
    --------
    >>> appetite = Appetite()
    >>> appetite.records
    64
    >>> appetite.note([Record("t", 0, at, None, b"x" * 100, (), 0) for at in range(64)], rows=64 * 512)
    >>> appetite.records
    8
    """

    def __init__(self) -> None:
        self.records = _FIRST

    def note(self, records: Sequence[Record], rows: int) -> None:
        """Learn from what came: so many records, with so many events."""
        if records:
            size = sum([len(record[4]) for record in records if record[4] is not None])
            fit = min(ROWS * len(records) // max(1, rows), BYTES * len(records) // max(1, size))
            self.records = max(1, min(ROWS, fit))
