"""How many records to ask for at once, when one may hold a single event or a hundred thousand."""

from __future__ import annotations

from collections.abc import Sequence

from hsnn.streaming.log.records import Records

AT_ONCE = 1024
"""Records of one poll: more would only leave the processor's cache before they are decoded."""

ROWS = 4096
"""Events of one poll, where a record holds many."""

BYTES = 8 << 20
"""Size of what is read at once."""

_FIRST = 64


class Appetite:
    """Asks for as many records as should hold `ROWS` events and `BYTES` bytes, going by those that came last.

    It asks for `DELTAS_PER_LOCK` at most.

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

    def note(self, found: Sequence[Records], rows: int) -> None:
        """Learn from what came: records with so many events."""
        if found:
            count, size = sum(map(len, found)), sum(records.size for records in found)
            fit = min(ROWS * count // max(1, rows), BYTES * count // max(1, size))
            self.records = max(1, min(AT_ONCE, fit))
