"""Ordinary JSON engagements, all of one poll at once: the fast way, for records that nothing is wrong with."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np

from hsnn.streaming.decode.json_event import MAX_JSON, canonicalize_ids
from hsnn.streaming.decode.rows import ACTION, CONTEXT, ID, ITEM, KIND, PAYLOAD, TS, USER, RowKind, Rows, new_rows
from hsnn.streaming.log.records import Records
from hsnn.streaming.schema.contexts import Contexts
from hsnn.streaming.schema.events import Id, Impression, Interaction
from hsnn.streaming.schema.ids import text_id

_TEXT = {str}


class _Interaction(Interaction, tag="interaction", frozen=True, gc=False):
    """An interaction whose context is left as it was written."""

    context: msgspec.Raw = msgspec.Raw(b"null")  # type: ignore[assignment]


# A union even where interactions alone are wanted: a decoder of one type alone would not ask for the field `type`.
_engagements: msgspec.json.Decoder[_Interaction | Impression] = msgspec.json.Decoder(_Interaction | Impression)
_contexts: Contexts[bytes] = Contexts()


def decode_json_batch(records: Records) -> Rows | None:
    """Rows of the records if every one is an ordinary JSON engagement; None if any is not."""
    values = records.values
    try:
        if max(map(len, values), default=0) > MAX_JSON:  # type: ignore[arg-type]
            return None
        events = list(map(_engagements.decode, values))  # type: ignore[arg-type]
        return _rows(records, events)
    except Exception:
        return None  # whatever it was, reading one by one names it


def _rows(records: Records, events: list[_Interaction | Impression]) -> Rows:
    rows = new_rows(records, RowKind.INTERACTION)
    kinds = list(map(type, events))
    if Impression not in kinds:
        _interactions(rows, slice(None), events)  # type: ignore[arg-type]
        return rows
    shown = np.array([kind is Impression for kind in kinds])
    rows.numbers[KIND, shown] = RowKind.IMPRESSION
    _impressions(rows, np.flatnonzero(shown), [canonicalize_ids(one) for one in events if type(one) is Impression])
    if not shown.all():
        _interactions(rows, np.flatnonzero(~shown), [one for one in events if type(one) is _Interaction])
    return rows


def _interactions(rows: Rows, at: Any, events: list[_Interaction]) -> None:
    objects = rows.objects
    rows.numbers[TS, at] = [event.ts for event in events]
    objects[ID, at] = _texts([event.id for event in events])
    objects[USER, at] = _texts([event.user for event in events])
    objects[ITEM, at] = _texts([event.item for event in events])
    objects[ACTION, at] = [event.action for event in events]
    named = [event.impression for event in events]
    contexts = _contexts.decode([bytes(event.context) for event in events])
    if named.count(None) < len(named):
        objects[PAYLOAD, at] = [None if name is None else text_id(name) for name in named]
    objects[CONTEXT, at] = np.fromiter(contexts, dtype=object, count=len(events))
    values = [event.value for event in events]
    if values.count(None) < len(values):
        with np.errstate(over="raise"):
            rows.value[at] = np.array(values, np.float64).astype(np.float32)


def _impressions(rows: Rows, at: Any, events: list[Impression]) -> None:
    rows.numbers[TS, at] = [event.ts for event in events]
    rows.objects[ID, at] = [event.id for event in events]
    rows.objects[USER, at] = [event.user for event in events]
    rows.objects[PAYLOAD, at] = np.fromiter(events, dtype=object, count=len(events))


def _texts(names: list[Id]) -> list[str]:
    return names if set(map(type, names)) == _TEXT else list(map(text_id, names))  # type: ignore[return-value]
