"""The life of an item: what its announcements, patches and deletions make of it, in whatever order they come.

============  ========================================  =============================================
state         an event with an older `ts` than it has   an event with the same `ts` or a newer one
============  ========================================  =============================================
not known     -                                         item: announced; patch: ignored (`unknown`)
announced     ignored (`older`)                         item: described anew; patch: merged; deletion: deleted
deleted       ignored (`older`)                         item: announced; patch: ignored (`unknown`)
============  ========================================  =============================================

A deletion without a time of its own counts where it stands in the log. An item event replaces all features; an end, or
a beginning, that it does not name stays as it was announced, and null takes it back. A patch replaces what it names.

A compacted topic keeps an item's last record only. Where that record alone would not give the state that all of them
gave, the item has to be **restated**: appended to the topic again, whole (`restatement`). So a fresh start over the
compacted topic gives the same catalogue.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import NamedTuple

import msgspec
from msgspec import UNSET, UnsetType

from hsnn.streaming.schema.events import Feature, Item, ItemDeletion, ItemEvent, ItemPatch


class LifeOutcome(StrEnum):
    """What became of an event about an item."""

    APPLIED = "applied"
    OLDER = "older"
    """A newer description or deletion is known."""
    UNKNOWN = "unknown"
    """A patch of an item that is not announced."""


class KnownItem(NamedTuple):
    """What the catalogue says of an item.

    Attributes
    ----------
    ts
        Time of the last description or deletion, epoch ms; 0 = none.
    announced
        False: not known, or deleted.
    features
    expires_at, available_from
        Epoch ms; 0 = none.
    """

    ts: int = 0
    announced: bool = False
    features: Mapping[str, Feature] = MappingProxyType({})
    expires_at: int = 0
    available_from: int = 0


NOT_KNOWN = KnownItem()
"""The record of an item of which nothing is known."""


def apply_event(record: KnownItem, event: ItemEvent) -> tuple[KnownItem, LifeOutcome]:
    """Return what an event makes of a record.

    Examples
    --------
    >>> record, _ = apply_event(NOT_KNOWN, Item(ts=5, id="a", features={"genre": "drama"}, expires_at=90))
    >>> record, _ = apply_event(record, ItemPatch(ts=6, id="a", features={"price": 2}))
    >>> record.features, record.expires_at
    ({'genre': 'drama', 'price': 2}, 90)
    >>> apply_event(record, Item(ts=5, id="a"))[1]
    <LifeOutcome.OLDER: 'older'>
    """
    if event.ts is not None and event.ts < record.ts:
        return record, LifeOutcome.OLDER
    if isinstance(event, ItemDeletion):
        return KnownItem(record.ts if event.ts is None else event.ts), LifeOutcome.APPLIED
    features: Mapping[str, Feature]
    if isinstance(event, ItemPatch):
        if not record.announced:
            return record, LifeOutcome.UNKNOWN
        merged = {**record.features, **event.features}
        features = {name: value for name, value in merged.items() if value is not None}
    else:
        features = event.features
    ends = _changed(record.expires_at, event.expires_at), _changed(record.available_from, event.available_from)
    return KnownItem(event.ts, True, features, *ends), LifeOutcome.APPLIED


def needs_restatement(record: KnownItem, event: ItemEvent) -> bool:
    """Whether an event, as the only one that a compacted topic keeps, would not give the record that it led to."""
    alone, _ = apply_event(NOT_KNOWN, event)
    if isinstance(event, ItemDeletion) and not record.announced:
        return False
    return alone != record and record != NOT_KNOWN


def restatement(name: str, record: KnownItem) -> tuple[bytes | None, int]:
    """Return the value of a record that gives all of `record`, None for a deletion, and its time, epoch ms."""
    if not record.announced:
        return None, record.ts
    item = Item(
        ts=record.ts,
        id=name,
        features=dict(record.features),
        expires_at=record.expires_at or None,
        available_from=record.available_from or None,
    )
    return msgspec.json.encode(item), record.ts


def _changed(before: int, given: int | UnsetType | None) -> int:
    return before if given is UNSET else given or 0
