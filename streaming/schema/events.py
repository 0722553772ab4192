"""The event schema: what producers send, one JSON object per event.

Ids may be text or whole numbers; inside the project they are text. Unknown fields are ignored.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import msgspec
from msgspec import UNSET, Meta, UnsetType

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


class EventType(StrEnum):
    """The field ``type`` of an event."""

    INTERACTION = "interaction"
    IMPRESSION = "impression"
    ITEM = "item"
    ITEM_PATCH = "item_patch"
    ITEM_DELETION = "item_deletion"
    USER = "user"


class _Event(msgspec.Struct, tag_field="type", frozen=True, kw_only=True, omit_defaults=True):
    ts: Millis


class Interaction(_Event, tag=EventType.INTERACTION.value, frozen=True):
    """A user acted on an item: topic ``engagements``, keyed by user."""

    id: Id
    user: Id
    item: Id
    action: Annotated[str, Meta(min_length=1, max_length=64)]
    value: float | None = None
    impression: Id | None = None
    context: dict[str, Scalar] | None = None


class Impression(_Event, tag=EventType.IMPRESSION.value, frozen=True):
    """A user was shown items: topic ``engagements``, keyed by user."""

    id: Id
    user: Id
    items: Annotated[list[Id], Meta(min_length=1, max_length=1000)]
    context: dict[str, Scalar] | None = None


class Item(_Event, tag=EventType.ITEM.value, frozen=True):
    """An item exists, with these features: topic ``items``, compacted, keyed by item.

    `expires_at` and `available_from`: when it ends, and before when it is not recommended. One that is left out stays
    as it was announced before; null takes it back.
    """

    id: Id
    features: dict[str, Feature] = {}
    expires_at: Millis | UnsetType | None = UNSET
    available_from: Millis | UnsetType | None = UNSET


class ItemPatch(_Event, tag=EventType.ITEM_PATCH.value, frozen=True):
    """Something of an announced item has changed: topic ``items``, keyed by item.

    Features that are not named stay; null removes one. `expires_at` and `available_from` as of `Item`.
    """

    id: Id
    features: dict[str, Feature] = {}
    expires_at: Millis | UnsetType | None = UNSET
    available_from: Millis | UnsetType | None = UNSET


class ItemDeletion(msgspec.Struct, tag_field="type", tag=EventType.ITEM_DELETION.value, frozen=True):
    """An item was deleted: what a record without value on topic ``items`` says.

    `ts` is that of its header, epoch ms; None without one.
    """

    id: str
    ts: int | None = None


class User(_Event, tag=EventType.USER.value, frozen=True):
    """A user has these features: topic ``users``, compacted, keyed by user."""

    id: Id
    features: dict[str, Feature] = {}


Event = Interaction | Impression | Item | ItemPatch | User

ItemEvent = Item | ItemPatch | ItemDeletion
"""Whatever says something about an item."""

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
