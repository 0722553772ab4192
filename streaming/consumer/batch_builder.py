"""Build the columns of a batch from merged rows."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hsnn.streaming.dead_letters.writer import DeadLetter
from hsnn.streaming.decode.event_table import EventTable, RowKind
from hsnn.streaming.join.joiner import ImpressionBatch
from hsnn.streaming.schema.batch import Engagements
from hsnn.streaming.schema.events import Impression, ItemEvent, User

NOT_JOINED = "impression_not_joined"
"""Reason under which impressions are counted while no tasks are configured."""

DUPLICATE = "duplicate"
"""Reason under which events are counted that were sent before."""


@dataclass(slots=True)
class OtherEvents:
    """What lies between the interactions of a batch; the names are those of `hsnn.streaming.schema.batch.Batch`."""

    items: list[ItemEvent] = field(default_factory=list)
    item_sent_at: list[int] = field(default_factory=list)
    users: list[User] = field(default_factory=list)
    deleted_users: list[str] = field(default_factory=list)
    seen_items: list[tuple[str, int, int]] = field(default_factory=list)
    control: list[bytes] = field(default_factory=list)
    letters: list[DeadLetter] = field(default_factory=list)
    impressions: int = 0
    duplicates: int = 0
    shed: int = 0


def build_engagements(rows: EventTable) -> Engagements:
    """Return the interactions among the rows, in order."""
    rows = _of_kind(rows, RowKind.INTERACTION)
    return Engagements(
        ts=rows.ts.copy(),
        sent_at=rows.sent_at.copy(),
        user=rows.user.tolist(),
        item=rows.item.tolist(),
        action=rows.action.tolist(),
        value=rows.value.copy(),
        context=rows.context.tolist(),
    )


def impression_ids(rows: EventTable) -> list[str | None]:
    """Return the id of the impression that each interaction among the rows names, in order."""
    ids: list[str | None] = _of_kind(rows, RowKind.INTERACTION).payload.tolist()
    return ids


def source_partitions(rows: EventTable, partitions: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the partition that each interaction among the rows came from, (n,).

    `partitions` maps the consumer's numbers of its partitions to the partitions of the topic.
    """
    return partitions[_of_kind(rows, RowKind.INTERACTION).partition]


def build_impressions(rows: EventTable, partitions: NDArray[np.int64]) -> ImpressionBatch:
    """Return the impressions among the rows, in order; `partitions` as in `source_partitions`."""
    rows = _of_kind(rows, RowKind.IMPRESSION)
    if not len(rows):
        return ImpressionBatch()
    events = rows.payload.tolist()
    return ImpressionBatch(
        ts=rows.ts.copy(),
        user=rows.user.tolist(),
        impression_id=rows.event_id.tolist(),
        items=[event.items for event in events],
        context=[event.context for event in events],
        partition=partitions[rows.partition],
    )


def _of_kind(rows: EventTable, kind: RowKind) -> EventTable:
    selected = rows.kind == kind
    return rows if selected.all() else rows[selected]


def collect_other_events(rows: EventTable) -> OtherEvents:
    """Collect everything among the rows that is no interaction."""
    out = OtherEvents()
    selected = np.flatnonzero(rows.kind != RowKind.INTERACTION)
    if len(selected):
        kinds, sent = rows.kind[selected].tolist(), rows.sent_at[selected].tolist()
        for kind, sent_at, payload in zip(kinds, sent, rows.payload[selected].tolist(), strict=True):
            _add(out, kind, sent_at, payload)
        _remove_deleted(out)
    return out


def _add(out: OtherEvents, kind: int, sent_at: int, payload: Any) -> None:
    match kind:
        case RowKind.ITEM | RowKind.DELETED_ITEM:
            out.items.append(payload)
            out.item_sent_at.append(sent_at)
        case RowKind.USER:
            out.users.append(payload)
            _revoke_deletion(out.deleted_users, payload.id)
        case RowKind.DELETED_USER:
            out.deleted_users.append(payload)
        case RowKind.CONTROL:
            out.control.append(payload)
        case RowKind.IMPRESSION:
            out.impressions += 1
            out.seen_items += _seen_items(payload, sent_at)
        case RowKind.DEAD:
            out.letters.append(payload)
        case RowKind.DUPLICATE:
            out.duplicates += 1
        case RowKind.SHED:
            out.shed += 1


def _seen_items(event: Impression, sent_at: int) -> Iterable[tuple[str, int, int]]:
    return [(str(item), event.ts, sent_at) for item in event.items]


def _revoke_deletion(deleted: list[str], name: str | int) -> None:
    """Forget a deletion: what was deleted and then sent again exists."""
    while str(name) in deleted:
        deleted.remove(str(name))


def _remove_deleted(out: OtherEvents) -> None:
    """Leave out users who were sent and then deleted within the batch: lists do not say which of the two came last."""
    if gone := set(out.deleted_users):
        out.users = [user for user in out.users if str(user.id) not in gone]
    out.deleted_users = list(dict.fromkeys(out.deleted_users))
