"""Records into rows: JSON one event per message, or Arrow many.

What cannot be read becomes a dead letter, never an error.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import msgspec
import numpy as np

from hsnn.streaming.dead_letters.writer import WHOLE, DeadLetter
from hsnn.streaming.decode.json_batch import decode_json_batch
from hsnn.streaming.decode.json_event import InvalidEvent, decode_event, strip_schema_id
from hsnn.streaming.decode.rows import (
    ACTION,
    CONTEXT,
    ID,
    INDEX,
    ITEM,
    KIND,
    LAST,
    NO_TIME,
    PAYLOAD,
    TS,
    USER,
    RowKind,
    Rows,
    concat,
    new_rows,
)
from hsnn.streaming.log.records import Record, Records
from hsnn.streaming.schema.arrow import ArrowError, Interactions, is_arrow, read_interactions
from hsnn.streaming.schema.events import LAST_MS, Impression, Interaction, Item, Millis, User
from hsnn.streaming.schema.ids import text_id
from hsnn.streaming.schema.topics import TopicRole

MAX_TOMBSTONE_KEY = 1024
_KINDS = {Interaction: RowKind.INTERACTION, Impression: RowKind.IMPRESSION, Item: RowKind.ITEM, User: RowKind.USER}


class _Stamp(msgspec.Struct):
    ts: Millis | None = None


_stamps: msgspec.json.Decoder[_Stamp] = msgspec.json.Decoder(_Stamp)


def decode_records(role: TopicRole, records: Records) -> Rows:
    """Rows of some records of one partition, in their order; at least one row per record.

    Examples
    --------
    >>> value = b'{"type":"interaction","id":1,"ts":5,"user":7,"item":"a","action":"click"}'
    >>> good, bad = Record("engagements", 0, 8, b"7", value, (), 6), Record("engagements", 0, 9, None, b"?", (), 7)
    >>> rows = decode_records(TopicRole.ENGAGEMENTS, Records.of([good, bad]))
    >>> rows.objects[USER, 0], rows.objects[PAYLOAD, 1].reason
    ('7', 'malformed')
    """
    if role is TopicRole.ENGAGEMENTS and (rows := decode_json_batch(records)) is not None:
        return rows
    packed = np.array([value is not None and is_arrow(strip_schema_id(value)) for value in records.values])
    bounds = [0, *(np.flatnonzero(np.diff(packed)) + 1).tolist(), len(records)]
    return concat(
        [(_arrow if packed[start] else _one_by_one)(role, records[start:stop]) for start, stop in pairwise(bounds)]
    )


def _one_by_one(role: TopicRole, records: Records) -> Rows:
    rows = new_rows(records, RowKind.DEAD)
    for at, record in enumerate(records):
        try:
            _fill(rows, at, role, record)
        except InvalidEvent as refused:
            rows.objects[PAYLOAD, at] = DeadLetter(record, 0, refused.reason, str(refused))
    return rows


def _fill(rows: Rows, at: int, role: TopicRole, record: Record) -> None:
    kind: RowKind
    payload: Any
    if role is TopicRole.CONTROL:
        kind, ts, payload = RowKind.CONTROL, _control_time(record), record.value or b""
    elif record.value is None:
        kind, ts, payload = _deletion(role, record)
    else:
        event = decode_event(role, record.value)
        kind, ts, payload = _KINDS[type(event)], event.ts, event
    rows.numbers[KIND, at], rows.numbers[TS, at] = kind, ts
    if kind is RowKind.INTERACTION:
        rows.objects[USER, at], rows.objects[ITEM, at] = payload.user, payload.item
        rows.objects[ACTION, at], rows.objects[CONTEXT, at] = payload.action, payload.context
        rows.value[at] = np.nan if payload.value is None else payload.value
        rows.objects[ID, at], rows.objects[PAYLOAD, at] = payload.id, payload.impression
    else:
        rows.objects[PAYLOAD, at] = payload
    if kind is RowKind.IMPRESSION:
        rows.objects[ID, at], rows.objects[USER, at] = payload.id, payload.user


def _control_time(record: Record) -> int:
    """Stream time of a command: its ``ts``, if it has one, so that a replay meets it at the same place."""
    try:
        ts = _stamps.decode(record.value or b"{}").ts
    except Exception:
        return -1  # whoever carries out commands refuses what is no command
    return -1 if ts is None else ts


def _deletion(role: TopicRole, record: Record) -> tuple[RowKind, int, Any]:
    if role is TopicRole.ENGAGEMENTS:
        raise InvalidEvent("empty", "the record has no value; engagements cannot be deleted")
    if not record.key or len(record.key) > MAX_TOMBSTONE_KEY:
        raise InvalidEvent("no_key", "a record without value deletes what its key names, and it has no usable key")
    try:
        name = text_id(record.key.decode())
    except ValueError as error:
        raise InvalidEvent("no_key", f"a record without value deletes what its key names: {error}") from None
    stamp = dict(record.headers).get("ts", b"")
    kind = RowKind.DELETED_ITEM if role is TopicRole.ITEMS else RowKind.DELETED_USER
    return kind, int(stamp) if stamp.isdigit() and len(stamp) < 16 else _plausible(record.sent_at), name


def _plausible(sent_at: int) -> int:
    """When a record says it was sent; no time if that is none: a larger one would not survive being added to."""
    return sent_at if 0 <= sent_at <= LAST_MS else NO_TIME


def _arrow(role: TopicRole, records: Records) -> Rows:
    """All interactions of some Arrow records; one dead letter for the whole of each that cannot be read."""
    try:
        if role is not TopicRole.ENGAGEMENTS:
            raise ArrowError(f"Arrow records are read from the engagements topic only, not from {role.value!r}")
        table = read_interactions(*(strip_schema_id(value or b"") for value in records.values))
    except ArrowError as error:
        if len(records) > 1:
            return _apart(role, records)
        rows = new_rows(records, RowKind.DEAD)
        rows.objects[PAYLOAD, 0] = DeadLetter(records[0], WHOLE, "arrow", str(error))
        return rows
    if not table.lengths.all():
        return new_rows(records, RowKind.EMPTY) if len(records) == 1 else _apart(role, records)
    return _packed(records, table)


def _apart(role: TopicRole, records: Records) -> Rows:
    return concat([_arrow(role, records[at : at + 1]) for at in range(len(records))])


def _packed(records: Records, table: Interactions) -> Rows:
    ends = np.cumsum(table.lengths)
    of = np.repeat(np.arange(len(records)), table.lengths)
    rows = new_rows(records, RowKind.INTERACTION)[of]
    rows.numbers[TS], rows.numbers[INDEX] = table.ts, np.arange(len(of)) - (ends - table.lengths)[of]
    rows.numbers[LAST] = 0
    rows.numbers[LAST, ends - 1] = 1
    rows.objects[USER], rows.objects[ITEM], rows.objects[ACTION] = table.user, table.item, table.action
    for column, texts in ((CONTEXT, table.context), (ID, table.id), (PAYLOAD, table.impression)):
        if texts is not None:
            rows.objects[column] = texts
    rows.value[:] = table.value
    for at, detail in table.refused.items():
        rows.numbers[KIND, at], rows.numbers[TS, at] = RowKind.DEAD, NO_TIME
        rows.objects[PAYLOAD, at] = DeadLetter(records[of[at]], int(rows.numbers[INDEX, at]), "invalid", detail)
    return rows
