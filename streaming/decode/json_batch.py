"""Decode many JSON engagements at once: the fast path, for polls in which every record is valid."""

from __future__ import annotations

from itertools import chain
from typing import Any

import msgspec
import numpy as np

from hsnn.streaming.decode.event_table import EventTable, RowKind, table_of_records
from hsnn.streaming.decode.json_event import MAX_JSON, canonicalize_ids
from hsnn.streaming.log.records import RecordBatch
from hsnn.streaming.schema.contexts import ContextDecoder
from hsnn.streaming.schema.events import EventType, Id, Impression, Interaction
from hsnn.streaming.schema.ids import canonical_id

_TEXT = {str}


class _RawInteraction(Interaction, tag=EventType.INTERACTION.value, frozen=True, gc=False):
    """An interaction whose context is kept as bytes: equal ones are parsed once for the whole batch."""

    context: msgspec.Raw = msgspec.Raw(b"null")  # type: ignore[assignment]


_Engagement = _RawInteraction | Impression

# A union even where interactions alone are wanted: a decoder of one type alone would not ask for the field `type`.
_engagements: msgspec.json.Decoder[_Engagement | list[_Engagement]] = msgspec.json.Decoder(
    _Engagement | list[_Engagement]
)
_contexts: ContextDecoder[bytes] = ContextDecoder()


def decode_json_batch(records: RecordBatch) -> EventTable | None:
    """Decode the records if every one is a valid JSON engagement or an array of them; return None if any is not."""
    values = records.values
    try:
        if max(map(len, values), default=0) > MAX_JSON:  # type: ignore[arg-type]
            return None
        decoded = list(map(_engagements.decode, values))  # type: ignore[arg-type]
        if list not in set(map(type, decoded)):
            return _table(table_of_records(records, RowKind.INTERACTION), decoded)  # type: ignore[arg-type]
        arrays = [events if type(events) is list else [events] for events in decoded]
        if not all(arrays):
            return None
        table = table_of_records(records, RowKind.INTERACTION, np.array(list(map(len, arrays))))
        return _table(table, list(chain.from_iterable(arrays)))  # type: ignore[arg-type]
    except Exception:
        return None  # whatever it was, decoding one by one names it


def _table(table: EventTable, events: list[_Engagement]) -> EventTable:
    """Fill in a table of as many rows as there are events."""
    types = list(map(type, events))
    if Impression not in types:
        _fill_interactions(table, slice(None), events)  # type: ignore[arg-type]
        return table
    is_impression = np.array([event_type is Impression for event_type in types])
    table.kind[is_impression] = RowKind.IMPRESSION
    impressions = [canonicalize_ids(event) for event in events if type(event) is Impression]
    _fill_impressions(table, np.flatnonzero(is_impression), impressions)
    if not is_impression.all():
        interactions = [event for event in events if type(event) is _RawInteraction]
        _fill_interactions(table, np.flatnonzero(~is_impression), interactions)
    return table


def _fill_interactions(table: EventTable, rows: Any, events: list[_RawInteraction]) -> None:
    table.ts[rows] = [event.ts for event in events]
    table.event_id[rows] = _text_ids([event.id for event in events])
    table.user[rows] = _text_ids([event.user for event in events])
    table.item[rows] = _text_ids([event.item for event in events])
    table.action[rows] = [event.action for event in events]
    impression_ids = [event.impression for event in events]
    contexts = _contexts.decode([bytes(event.context) for event in events])
    if impression_ids.count(None) < len(impression_ids):
        table.payload[rows] = [None if name is None else canonical_id(name) for name in impression_ids]
    # `fromiter` keeps the mappings as objects; an assignment of the list would try to look into them.
    table.context[rows] = np.fromiter(contexts, dtype=object, count=len(events))
    values = [event.value for event in events]
    if values.count(None) < len(values):
        # A value beyond float32 raises here and is refused when the records are decoded one by one.
        with np.errstate(over="raise"):
            table.value[rows] = np.array(values, np.float64).astype(np.float32)


def _fill_impressions(table: EventTable, rows: Any, events: list[Impression]) -> None:
    table.ts[rows] = [event.ts for event in events]
    table.event_id[rows] = [event.id for event in events]
    table.user[rows] = [event.user for event in events]
    table.payload[rows] = np.fromiter(events, dtype=object, count=len(events))


def _text_ids(ids: list[Id]) -> list[str]:
    return ids if set(map(type, ids)) == _TEXT else list(map(canonical_id, ids))  # type: ignore[return-value]
