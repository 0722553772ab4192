"""Fields that are not understood: an event is read without them, and they are counted.

Only fields that an event may lack are left out, and no times: an item without its end would be recommended for ever.
"""

from __future__ import annotations

import logging
from typing import Any

import msgspec
import numpy as np
from prometheus_client import Counter

from hsnn.streaming.schema.events import Event, Feature, Id, Scalar
from hsnn.streaming.schema.ids import canonical_id

FIELDS_LEFT_OUT = Counter(
    "hsnn_fields_left_out_total", "Fields of events that were not understood and left out, by name.", ["field"]
)

_FLOAT32_MAX = float(np.finfo(np.float32).max)

# Fields that are left out as a whole, with their types.
_WHOLE: dict[str, Any] = {"value": float | None, "impression": Id | None}
# Fields of which only entries are left out, with the types of their values.
_BY_ENTRY: dict[str, Any] = {"context": Scalar, "features": Feature}

_log = logging.getLogger(__name__)
_named: set[str] = set()


def count_left_out(field: str, example: object, count: int = 1) -> None:
    """Count fields that were left out; the first of each name is logged with an example of what it held."""
    FIELDS_LEFT_OUT.labels(field).inc(count)
    if field not in _named:
        _named.add(field)
        _log.warning("`%s` is not understood and left out, here and wherever it is so: %.200s", field, example)


def decode_without(value: bytes) -> Event | None:
    """Decode a JSON event without the optional fields that cannot be read; None if that does not make it valid.

    Examples
    --------
    >>> event = decode_without(b'{"type":"interaction","id":1,"ts":5,"user":7,"item":"a","action":"x","value":"?"}')
    >>> event.value is None, event.action
    (True, 'x')
    """
    try:
        fields = msgspec.json.decode(value)
        left_out = [*_remove_whole(fields), *_remove_entries(fields)]
        event: Event = msgspec.convert(fields, Event)
    except (msgspec.MsgspecError, AttributeError, TypeError, RecursionError, UnicodeDecodeError):
        return None
    for field, held in left_out:
        count_left_out(field, held)
    return event if left_out else None


def _remove_whole(fields: dict[str, Any]) -> list[tuple[str, object]]:
    bad = [name for name, kind in _WHOLE.items() if name in fields and not _is_valid(fields[name], kind)]
    return [(name, fields.pop(name)) for name in bad]


def _remove_entries(fields: dict[str, Any]) -> list[tuple[str, object]]:
    left_out: list[tuple[str, object]] = []
    for name, kind in _BY_ENTRY.items():
        entries = fields.get(name)
        if isinstance(entries, dict):
            bad = [entry for entry, held in entries.items() if not _is_valid(held, kind)]
            left_out += [(name, {entry: entries.pop(entry)}) for entry in bad]
            if bad and not entries:
                del fields[name]
        elif entries is not None:
            left_out.append((name, fields.pop(name)))
    return left_out


def _is_valid(held: object, kind: Any) -> bool:
    try:
        read = msgspec.convert(held, kind)
        if kind is _WHOLE["impression"] and read is not None:
            canonical_id(read)
    except ValueError:  # msgspec's, and that of an id
        return False
    return kind is not _WHOLE["value"] or read is None or abs(read) <= _FLOAT32_MAX
