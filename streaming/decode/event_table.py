"""Decoded events as a table: one array per column, so that merging moves arrays and never single events."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from enum import IntEnum
from operator import attrgetter

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


@dataclass(slots=True)
class EventTable:
    """n events of one or several partitions, as columns of n values.

    Attributes
    ----------
    ts : int64
        Event time, epoch ms; `NO_TIME` if there is none.
    sent_at : int64
        Wall time at which the producer sent the record, epoch ms.
    offset, index : int64
        Offset of the record, and index of the event inside it.
    ends_record : bool
        Whether the row is the last one of its record.
    kind : int64
        A `RowKind`.
    order_key, partition, watermark : int64
        Filled in by the merge: the key by which rows are ordered, the consumer's number of the partition, and the
        watermark after the row.
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

    ts: NDArray[np.int64]
    sent_at: NDArray[np.int64]
    offset: NDArray[np.int64]
    index: NDArray[np.int64]
    ends_record: NDArray[np.bool_]
    kind: NDArray[np.int64]
    order_key: NDArray[np.int64]
    partition: NDArray[np.int64]
    watermark: NDArray[np.int64]
    user: NDArray[np.object_]
    item: NDArray[np.object_]
    action: NDArray[np.object_]
    context: NDArray[np.object_]
    payload: NDArray[np.object_]
    event_id: NDArray[np.object_]
    records: NDArray[np.object_]
    value: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.ts)

    def __getitem__(self, rows: slice | NDArray[np.intp] | NDArray[np.bool_]) -> EventTable:
        """Select rows; the columns of a slice are views."""
        if isinstance(rows, slice):
            return EventTable(*[column[rows] for column in _columns(self)])
        # A mask is turned into indices once, not once per column.
        indices = np.flatnonzero(rows) if rows.dtype == np.bool_ else rows
        return EventTable(*[column.take(indices) for column in _columns(self)])

    def record(self, row: int) -> Record:
        """Return the record that a row was read from."""
        records: RecordBatch = self.records[row]
        return records.at_offset(int(self.offset[row]))

    def event_position(self, row: int) -> tuple[int, int, int]:
        """Return the partition's number, the offset and the index of a row: no other row has the same three."""
        return int(self.partition[row]), int(self.offset[row]), int(self.index[row])


_columns = attrgetter(*(field.name for field in fields(EventTable)))


def empty_table() -> EventTable:
    """Return a table without rows."""
    return _new_table(0, RowKind.EMPTY)


def table_of_records(
    records: RecordBatch, kind: RowKind, record_index: slice | NDArray[np.intp] = slice(None)
) -> EventTable:
    """Make a table of rows without event time that knows of each row which record it comes from.

    Parameters
    ----------
    records
    kind
        Of all rows.
    record_index : (n,) int64
        Index of the record of each row; one row per record by default.
    """
    offsets = records.offsets[record_index]
    table = _new_table(len(offsets), kind)
    table.offset[:] = offsets
    table.sent_at[:] = np.clip(records.sent_at, NO_TIME, _MAX_SENT_AT)[record_index]
    table.records.fill(records)
    return table


def _new_table(n: int, kind: RowKind) -> EventTable:
    return EventTable(
        ts=np.full(n, NO_TIME),
        sent_at=np.zeros(n, np.int64),
        offset=np.zeros(n, np.int64),
        index=np.zeros(n, np.int64),
        ends_record=np.ones(n, np.bool_),
        kind=np.full(n, int(kind)),
        order_key=np.zeros(n, np.int64),
        partition=np.zeros(n, np.int64),
        watermark=np.zeros(n, np.int64),
        user=np.full(n, None, object),
        item=np.full(n, None, object),
        action=np.full(n, None, object),
        context=np.full(n, None, object),
        payload=np.full(n, None, object),
        event_id=np.full(n, None, object),
        records=np.full(n, None, object),
        value=np.full(n, np.nan, np.float32),
    )


def concat_tables(tables: Sequence[EventTable]) -> EventTable:
    """Join tables row-wise, in order; a single one is returned as it is."""
    if len(tables) == 1:
        return tables[0]
    return EventTable(*map(np.concatenate, zip(*map(_columns, tables), strict=True)))
