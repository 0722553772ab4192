"""Decoded events as a table: one array per column, so that merging moves arrays and never single events."""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from hsnn.streaming.log.records import Record, RecordBatch

NO_TIME = -1
"""Event time of rows that have none: unreadable records, deletions, commands."""

# Milliseconds. Wall times are added to later on, and a producer's clock may say anything; sums stay within int64.
_MAX_SENT_AT = 1 << 53


class RowKind(IntEnum):
    """What a row is.

    The order matters: engagements are the kinds up to `IMPRESSION`, and rows with an event time of their own that may
    be implausible are those up to `USER`.
    """

    INTERACTION = 0
    IMPRESSION = 1
    ITEM = 2
    USER = 3
    DELETED_ITEM = 4
    DELETED_USER = 5
    CONTROL = 6
    DEAD = 7
    EMPTY = 8
    DUPLICATE = 9
    SHED = 10


class _TableColumn:
    """A column of the block of numbers, by name; it can be written into but not replaced."""

    def __init__(self, row: int) -> None:
        self._row = row

    def __get__(self, table: EventTable, owner: object) -> NDArray[np.int64]:
        column: NDArray[np.int64] = table._numbers[self._row]
        return column


class _ObjectColumn:
    """A column of the block of objects, by name; it can be written into but not replaced."""

    def __init__(self, row: int) -> None:
        self._row = row

    def __get__(self, table: EventTable, owner: object) -> NDArray[np.object_]:
        column: NDArray[np.object_] = table._objects[self._row]
        return column


# Columns of each type.
_NUMBERS, _OBJECTS = 10, 7


class EventTable:
    """n events of one or several partitions, as columns of n values.

    The columns are views of two blocks, one of numbers and one of objects: slicing, selecting and joining costs two
    array operations. With an array of its own for every column, decoding and merging took 1.3 times as long for polls
    of 64 records; like this it takes 0.97 to 1.0 of the time of bare blocks that are indexed by constants.

    Attributes
    ----------
    ts : int64
        Event time, epoch ms; `NO_TIME` if there is none.
    sent_at : int64
        Wall time at which the producer sent the record, epoch ms.
    offset, index : int64
        Offset of the record, and index of the event inside it.
    ends_record : int64
        1 on the last row of a record, else 0.
    kind : int64
        A `RowKind`.
    order_key, order_base, partition, watermark : int64
        Filled in by the merge: the key by which rows are ordered, with and without jumps that are not confirmed, the
        consumer's number of the partition, and the watermark after the row.
    user, item, action, context : objects
        Of interactions, None elsewhere; impressions have their user too.
    payload : objects
        Id of the impression that an interaction names, or None; the event, id, bytes or `DeadLetter` of other rows.
    event_id : objects
        Id of an engagement, or None.
    records : objects
        The `RecordBatch` that the row was read from.
    value : float32
        NaN where the event had none.
    """

    __slots__ = ("_numbers", "_objects", "value")

    ts = _TableColumn(0)
    sent_at = _TableColumn(1)
    offset = _TableColumn(2)
    index = _TableColumn(3)
    ends_record = _TableColumn(4)
    kind = _TableColumn(5)
    order_key = _TableColumn(6)
    partition = _TableColumn(7)
    watermark = _TableColumn(8)
    order_base = _TableColumn(9)
    user = _ObjectColumn(0)
    item = _ObjectColumn(1)
    action = _ObjectColumn(2)
    context = _ObjectColumn(3)
    payload = _ObjectColumn(4)
    event_id = _ObjectColumn(5)
    records = _ObjectColumn(6)

    def __init__(self, numbers: NDArray[np.int64], objects: NDArray[np.object_], value: NDArray[np.float32]) -> None:
        self._numbers, self._objects, self.value = numbers, objects, value

    @classmethod
    def with_size(cls, n: int, kind: RowKind = RowKind.EMPTY) -> EventTable:
        """Make a table of n rows of a kind, without event time and without any object."""
        numbers = np.zeros((_NUMBERS, n), np.int64)
        objects = np.full((_OBJECTS, n), None, object)
        table = cls(numbers, objects, np.full(n, np.nan, np.float32))
        table.ts.fill(NO_TIME)
        table.ends_record.fill(1)
        table.kind.fill(kind)
        return table

    @classmethod
    def concat(cls, tables: Sequence[EventTable]) -> EventTable:
        """Join tables row-wise, in order; a single one is returned as it is."""
        if len(tables) == 1:
            return tables[0]
        return cls(
            np.concatenate([table._numbers for table in tables], axis=1),
            np.concatenate([table._objects for table in tables], axis=1),
            np.concatenate([table.value for table in tables]),
        )

    def __len__(self) -> int:
        return len(self.value)

    def __getitem__(self, rows: slice | NDArray[np.intp] | NDArray[np.bool_]) -> EventTable:
        """Select rows; the columns of a slice are views."""
        if isinstance(rows, slice):
            return EventTable(self._numbers[:, rows], self._objects[:, rows], self.value[rows])
        indices = np.flatnonzero(rows) if rows.dtype == np.bool_ else rows
        # Of the numbers `take` copies faster than an index along the second axis, of the objects it does not.
        return EventTable(self._numbers.take(indices, axis=1), self._objects[:, indices], self.value[indices])

    def record(self, row: int) -> Record:
        """Return the record that a row was read from."""
        records: RecordBatch = self.records[row]
        return records.at_offset(int(self.offset[row]))

    def event_position(self, row: int) -> tuple[int, int, int]:
        """Return the partition's number, the offset and the index of a row: no other row has the same three."""
        return int(self.partition[row]), int(self.offset[row]), int(self.index[row])


def table_of_records(records: RecordBatch, kind: RowKind, lengths: NDArray[np.int64] | None = None) -> EventTable:
    """Make a table of rows without event time that knows of each row which record it comes from.

    Parameters
    ----------
    records
    kind
        Of all rows.
    lengths : (records,) int64
        Rows of each record, at least one; None: one of each.
    """
    sent_at = np.clip(records.sent_at, NO_TIME, _MAX_SENT_AT)
    if lengths is None:
        table = EventTable.with_size(len(records), kind)
        table.offset[:], table.sent_at[:] = records.offsets, sent_at
    else:
        ends = np.cumsum(lengths)
        table = EventTable.with_size(int(ends[-1]), kind)
        for column, of_record in ((table.offset, records.offsets), (table.sent_at, sent_at)):
            column[:] = np.repeat(of_record, lengths)
        table.index[:] = np.arange(len(table)) - np.repeat(ends - lengths, lengths)
        table.ends_record[:] = 0
        table.ends_record[ends - 1] = 1
    table.records.fill(records)
    return table
