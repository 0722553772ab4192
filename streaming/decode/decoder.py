"""Decode records into a table of events: JSON with one event or an array of them per record, or Arrow with many.

A record that cannot be read becomes a row with a dead letter; decoding never raises.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import msgspec
import numpy as np

from hsnn.streaming.dead_letters.reasons import DeadLetterReason
from hsnn.streaming.dead_letters.writer import WHOLE_RECORD, DeadLetter
from hsnn.streaming.decode.event_table import NO_TIME, EventTable, RowKind, table_of_records
from hsnn.streaming.decode.json_batch import decode_json_batch
from hsnn.streaming.decode.json_event import MAX_JSON, InvalidEvent, decode_event, strip_schema_id
from hsnn.streaming.decode.left_out_fields import count_left_out
from hsnn.streaming.log.records import UNREADABLE, Record, RecordBatch
from hsnn.streaming.schema.arrow import read_interactions
from hsnn.streaming.schema.columns import ArrowError, InteractionColumns, is_arrow
from hsnn.streaming.schema.events import LAST_MS, Impression, Interaction, Item, ItemDeletion, ItemPatch, Millis, User
from hsnn.streaming.schema.ids import canonical_id
from hsnn.streaming.schema.json_array import is_array, split_events
from hsnn.streaming.schema.timestamps import wrong_unit
from hsnn.streaming.schema.topics import TopicRole

MAX_TOMBSTONE_KEY = 1024
"""Bytes of the key of a deletion: a valid id of `MAX_ID` characters has at most four bytes for each."""

_KINDS = {
    Interaction: RowKind.INTERACTION,
    Impression: RowKind.IMPRESSION,
    Item: RowKind.ITEM,
    ItemPatch: RowKind.ITEM,
    User: RowKind.USER,
}


class _CommandTime(msgspec.Struct):
    """The event time of a command; its other fields are not looked at here."""

    ts: Millis | None = None


_command_times: msgspec.json.Decoder[_CommandTime] = msgspec.json.Decoder(_CommandTime)


def decode_records(role: TopicRole, records: RecordBatch) -> EventTable:
    """Decode records of one partition, in order; every record gives at least one row.

    A record of engagements may hold an array of events, or Arrow.

    Examples
    --------
    >>> value = b'{"type":"interaction","id":1,"ts":5,"user":7,"item":"a","action":"click"}'
    >>> good, bad = Record("engagements", 0, 8, b"7", value, (), 6), Record("engagements", 0, 9, None, b"?", (), 7)
    >>> table = decode_records(TopicRole.ENGAGEMENTS, RecordBatch.from_records([good, bad]))
    >>> table.user[0], str(table.payload[1].reason)
    ('7', 'malformed')
    """
    if role is TopicRole.ENGAGEMENTS and (table := decode_json_batch(records)) is not None:
        return table
    # Runs of Arrow records are read together, and so are runs of JSON records.
    arrow = np.array([value is not None and is_arrow(strip_schema_id(value)) for value in records.values])
    bounds = [0, *(np.flatnonzero(np.diff(arrow)) + 1).tolist(), len(records)]
    return EventTable.concat(
        [
            (_decode_arrow if arrow[start] else _decode_json)(role, records[start:stop])
            for start, stop in pairwise(bounds)
        ]
    )


def _decode_json(role: TopicRole, records: RecordBatch) -> EventTable:
    """Decode JSON events one by one; an array that cannot be read gives one dead letter for all of it."""
    parts = [_split(role, value) for value in records.values]
    table = table_of_records(records, RowKind.DEAD, np.array(list(map(len, parts))))
    row = 0
    for record, events in zip(records, parts, strict=True):
        for index, value in events:
            try:
                _decode_record(table, row, role, record._replace(value=value))
            except InvalidEvent as error:
                table.payload[row] = DeadLetter(record, index, error.reason, str(error))
            row += 1
    return table


def _split(role: TopicRole, value: bytes | None) -> Sequence[tuple[int, bytes | None]]:
    """Return the events of a record, each with its index; a record that is no readable array is one."""
    bare = strip_schema_id(value or b"")
    if not is_array(bare):
        return [(0, value)]
    events = split_events(bare) if role is TopicRole.ENGAGEMENTS and len(bare) <= MAX_JSON else None
    return [(WHOLE_RECORD, value)] if events is None else list(enumerate(events))


def _decode_record(table: EventTable, row: int, role: TopicRole, record: Record) -> None:
    kind: RowKind
    payload: Any
    if record.value is None and (detail := dict(record.headers).get(UNREADABLE)) is not None:
        raise InvalidEvent(DeadLetterReason.UNREADABLE, detail.decode(errors="replace"))
    if role is TopicRole.CONTROL:
        kind, ts, payload = RowKind.CONTROL, _command_time(record), record.value or b""
    elif record.value is None:
        kind, ts, payload = _decode_tombstone(role, record)
    else:
        event = decode_event(role, record.value)
        kind, ts, payload = _KINDS[type(event)], event.ts, event
    table.kind[row], table.ts[row] = kind, ts
    if kind is RowKind.INTERACTION:
        table.user[row], table.item[row] = payload.user, payload.item
        table.action[row], table.context[row] = payload.action, payload.context
        table.value[row] = np.nan if payload.value is None else payload.value
        table.event_id[row], table.payload[row] = payload.id, payload.impression
    else:
        table.payload[row] = payload
    if kind is RowKind.IMPRESSION:
        table.event_id[row], table.user[row] = payload.id, payload.user


def _command_time(record: Record) -> int:
    """Return the event time of a command, so that a replay meets it at the same place; `NO_TIME` without one."""
    try:
        ts = _command_times.decode(record.value or b"{}").ts
    except Exception:
        return NO_TIME  # a malformed command is reported by the code that executes commands
    return NO_TIME if ts is None else ts


def _decode_tombstone(role: TopicRole, record: Record) -> tuple[RowKind, int, Any]:
    """Return kind, time and payload of a deletion: a record without value deletes what its key names."""
    if role is TopicRole.ENGAGEMENTS:
        raise InvalidEvent(DeadLetterReason.EMPTY, "the record has no value; engagements cannot be deleted")
    if not record.key or len(record.key) > MAX_TOMBSTONE_KEY:
        raise InvalidEvent(
            DeadLetterReason.NO_KEY, "a record without value deletes what its key names, and it has no usable key"
        )
    try:
        name = canonical_id(record.key.decode())
    except ValueError as error:
        raise InvalidEvent(
            DeadLetterReason.NO_KEY, f"a record without value deletes what its key names: {error}"
        ) from None
    stamp = dict(record.headers).get("ts", b"")
    # 15 digits reach the year 33658; longer numbers are no epoch milliseconds.
    ts = int(stamp) if stamp.isdigit() and len(stamp) < 16 else None
    if ts is not None and (complaint := wrong_unit(ts)):
        raise InvalidEvent(DeadLetterReason.INVALID, f"the header `ts` is {ts}: {complaint}")
    at = _plausible_time(record.sent_at) if ts is None else ts
    if role is TopicRole.ITEMS:
        return RowKind.DELETED_ITEM, at, ItemDeletion(name, ts)
    return RowKind.DELETED_USER, at, name


def _plausible_time(sent_at: int) -> int:
    """Return a wall time as event time, or `NO_TIME` if it is out of range and sums with it could overflow."""
    return sent_at if 0 <= sent_at <= LAST_MS else NO_TIME


def _decode_arrow(role: TopicRole, records: RecordBatch) -> EventTable:
    """Decode the interactions of Arrow records; a record that cannot be read gives one dead letter for all of it."""
    try:
        if role is not TopicRole.ENGAGEMENTS:
            raise ArrowError(f"Arrow records are read from the engagements topic only, not from {role.value!r}")
        interactions = read_interactions(*(strip_schema_id(value or b"") for value in records.values))
    except ArrowError as error:
        # One bad record fails the whole read: read each alone to find it.
        if len(records) > 1:
            return _decode_arrow_each(role, records)
        table = table_of_records(records, RowKind.DEAD)
        table.payload[0] = DeadLetter(records[0], WHOLE_RECORD, DeadLetterReason.ARROW, str(error))
        return table
    if not interactions.lengths.all():
        # A record without rows still needs a row that moves the offset.
        return table_of_records(records, RowKind.EMPTY) if len(records) == 1 else _decode_arrow_each(role, records)
    return _interaction_table(records, interactions)


def _decode_arrow_each(role: TopicRole, records: RecordBatch) -> EventTable:
    return EventTable.concat([_decode_arrow(role, records[i : i + 1]) for i in range(len(records))])


def _interaction_table(records: RecordBatch, interactions: InteractionColumns) -> EventTable:
    table = table_of_records(records, RowKind.INTERACTION, interactions.lengths)
    table.ts[:], table.value[:] = interactions.ts, interactions.value
    table.user[:], table.item[:], table.action[:] = interactions.user, interactions.item, interactions.action
    if interactions.context is not None:
        table.context[:] = interactions.context
    if interactions.id is not None:
        table.event_id[:] = interactions.id
    if interactions.impression is not None:
        table.payload[:] = interactions.impression
    for (field, _), detail in interactions.left_out.items():
        count_left_out(field, detail)
    for row, detail in interactions.rejected.items():
        table.kind[row], table.ts[row] = RowKind.DEAD, NO_TIME
        table.payload[row] = DeadLetter(table.record(row), int(table.index[row]), DeadLetterReason.INVALID, detail)
    return table
