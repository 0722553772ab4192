"""The event schema: what producers send, one JSON object per event.

Ids may be text or whole numbers; inside the project they are text. Unknown fields are ignored.
"""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

Id = Annotated[str, Meta(min_length=1, max_length=256)] | int
"""A user, item or event id as producers write it."""

Scalar = str | int | float | bool | None
"""One feature or context value."""

Feature = Scalar | list[Scalar]
"""A feature: one value or several (genres, topics)."""

LAST_MS = 253_402_300_799_999
"""The end of the year 9999, epoch ms."""

Millis = Annotated[int, Meta(ge=0, le=LAST_MS)]
"""Epoch milliseconds, from 1970 to the end of the year 9999."""


class _Event(msgspec.Struct, tag_field="type", frozen=True, kw_only=True, omit_defaults=True):
    ts: Millis


class Interaction(_Event, tag="interaction", frozen=True):
    """A user acted on an item: topic ``engagements``, keyed by user."""

    id: Id
    user: Id
    item: Id
    action: Annotated[str, Meta(min_length=1, max_length=64)]
    value: float | None = None
    impression: Id | None = None
    context: dict[str, Scalar] | None = None


class Impression(_Event, tag="impression", frozen=True):
    """A user was shown items: topic ``engagements``, keyed by user."""

    id: Id
    user: Id
    items: Annotated[list[Id], Meta(min_length=1, max_length=1000)]
    context: dict[str, Scalar] | None = None


class Item(_Event, tag="item", frozen=True):
    """An item exists, with these features: topic ``items``, compacted, keyed by item."""

    id: Id
    features: dict[str, Feature] = {}
    expires_at: Millis | None = None


class User(_Event, tag="user", frozen=True):
    """A user has these features: topic ``users``, compacted, keyed by user."""

    id: Id
    features: dict[str, Feature] = {}


Event = Interaction | Impression | Item | User

_decoder: msgspec.json.Decoder[Event] = msgspec.json.Decoder(Event)
_encoder = msgspec.json.Encoder()


def decode(value: bytes) -> Event:
    """Decode one event.

    Raises
    ------
    msgspec.ValidationError
        A field is missing, of the wrong type or out of range, or the type is unknown.
    msgspec.DecodeError
        The bytes are not one JSON value.

    Examples
    --------
    >>> decode(b'{"type":"interaction","id":1,"ts":5,"user":7,"item":"a","action":"click","colour":"red"}').user
    7
    """
    return _decoder.decode(value)


def encode(event: Event) -> bytes:
    """Encode one event as JSON, which `decode` reads back."""
    return _encoder.encode(event)
