"""Decode one JSON event: from bytes to an event with canonical ids, or to the reason why it is invalid."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import msgspec
import numpy as np

from hsnn.streaming.dead_letters.reasons import DeadLetterReason
from hsnn.streaming.decode.left_out_fields import decode_without
from hsnn.streaming.schema.events import Event, Impression, Interaction, Item, ItemPatch, User, decode
from hsnn.streaming.schema.ids import canonical_id
from hsnn.streaming.schema.timestamps import explain_value, require_millis
from hsnn.streaming.schema.topics import TopicRole

MAX_JSON = 1 << 20
"""Longest JSON event, in bytes; parsing a longer one would hold up the whole partition."""

EventT = TypeVar("EventT", bound=Event)

_FLOAT32_MAX = float(np.finfo(np.float32).max)

# Fields of events that are times.
_TIMES = ("ts", "expires_at", "available_from")

_EVENT_TYPES: dict[TopicRole, tuple[type, ...]] = {
    TopicRole.ENGAGEMENTS: (Interaction, Impression),
    TopicRole.ITEMS: (Item, ItemPatch),
    TopicRole.USERS: (User,),
}


class InvalidEvent(Exception):  # noqa: N818
    """A record is no valid event of its topic.

    Attributes
    ----------
    reason
        A code, for counters and dead letters; the message of the exception explains it.
    """

    def __init__(self, reason: DeadLetterReason, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


def strip_schema_id(value: bytes) -> bytes:
    """Remove the prefix of Confluent's serializers: a zero byte and the four bytes of a schema id."""
    return value[5:] if value[:1] == b"\0" else value


def decode_event(role: TopicRole, value: bytes) -> Event:
    """Decode one JSON event and canonicalize its ids; optional fields that are not understood are left out.

    Raises
    ------
    InvalidEvent
        With its reason, an error of the value or of its type.
    """
    try:
        return _of_role(role, parse_event(value))
    except InvalidEvent as error:
        if error.reason is not DeadLetterReason.INVALID:
            raise
        event = decode_without(strip_schema_id(value))
        if event is None:
            raise
        return _of_role(role, event)


def _of_role(role: TopicRole, event: Event) -> Event:
    """Canonicalize the ids of an event that belongs into a topic."""
    if not isinstance(event, _EVENT_TYPES[role]):
        name = type(event).__name__.lower()
        raise InvalidEvent(
            DeadLetterReason.WRONG_TOPIC, f"an event of type {name!r} does not belong into topic {role.value!r}"
        )
    try:
        return canonicalize_ids(event)
    except ValueError as error:
        raise InvalidEvent(DeadLetterReason.INVALID, str(error)) from None


def parse_event(value: bytes) -> Event:
    """Parse one JSON event of any type; ids and times stay as they were sent.

    Raises
    ------
    InvalidEvent
        With its reason, an error of the value.
    """
    if len(value) > MAX_JSON:
        raise InvalidEvent(DeadLetterReason.TOO_LARGE, f"the event has {len(value)} bytes; at most {MAX_JSON} are read")
    try:
        return decode(strip_schema_id(value))
    except msgspec.ValidationError as error:
        reason = DeadLetterReason.UNKNOWN_TYPE if str(error).endswith("`$.type`") else DeadLetterReason.INVALID
        raise InvalidEvent(reason, f"{error}{_explain_time(value, str(error))}") from None
    except msgspec.DecodeError as error:
        raise InvalidEvent(DeadLetterReason.MALFORMED, str(error)) from None
    except UnicodeDecodeError as error:
        raise InvalidEvent(DeadLetterReason.BAD_TEXT, str(error)) from None
    except RecursionError:
        raise InvalidEvent(DeadLetterReason.TOO_DEEP, "the JSON value is nested too deeply") from None
    except Exception as error:  # an unexpected error of the parser must not stop the stream
        raise InvalidEvent(DeadLetterReason.MALFORMED, f"{type(error).__name__}: {error}") from None


def _explain_time(value: bytes, error: str) -> str:
    """Say what a time seems to be that was refused, by the path at the end of the error."""
    field = error.rpartition("`$.")[2].rstrip("`")
    if field not in _TIMES:
        return ""
    try:
        explained = explain_value(msgspec.json.decode(strip_schema_id(value)).get(field))
    except Exception:  # what comes after the field is no JSON, or nested too deeply: the error itself is enough
        return ""
    return f": {explained}" if explained else ""


def canonicalize_ids(event: EventT) -> EventT:
    """Return the event with all ids as text.

    Raises
    ------
    ValueError
        An id is empty or too long, a time is not in milliseconds, or the value of an interaction exceeds float32.

    Examples
    --------
    >>> canonicalize_ids(Interaction(id=1, ts=5, user=7, item="a", action="click")).user
    '7'
    """
    if isinstance(event, Interaction) and event.impression is None and event.value is None:
        if type(event.id) is type(event.user) is type(event.item) is str:
            return event
    elif isinstance(event, Impression) and set(map(type, (event.id, event.user, *event.items))) == {str}:
        return event
    if isinstance(event, Item | ItemPatch | User):  # times of engagements are compared with the watermark
        for field in _TIMES:
            if time := getattr(event, field, None):
                require_millis(time, field)
    changes: dict[str, Any] = {"id": canonical_id(event.id)}
    if isinstance(event, Interaction | Impression):
        changes["user"] = canonical_id(event.user)
    if isinstance(event, Interaction):
        changes["item"] = canonical_id(event.item)
        if event.impression is not None:
            changes["impression"] = canonical_id(event.impression)
        if event.value is not None and not abs(event.value) <= _FLOAT32_MAX:
            raise ValueError(f"`value` is {event.value}; at most {_FLOAT32_MAX:.3g} fits")
    if isinstance(event, Impression):
        changes["items"] = [canonical_id(item) for item in event.items]
    replace: Callable[..., EventT] = msgspec.structs.replace
    return replace(event, **changes)
