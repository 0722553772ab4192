"""From merged rows to the batch the trainer sees."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hsnn.streaming.dead_letters.writer import DeadLetter
from hsnn.streaming.decode.rows import ACTION, CONTEXT, ID, ITEM, KIND, PART, PAYLOAD, SENT_AT, TS, USER, RowKind, Rows
from hsnn.streaming.join.joiner import ImpressionBatch
from hsnn.streaming.schema.batch import Engagements
from hsnn.streaming.schema.events import Impression, Item, User

NOT_JOINED = "impression_not_joined"
DUPLICATE = "duplicate"


@dataclass(slots=True)
class SideEvents:
    """What lies between the interactions of a batch; the names are those of `Batch`."""

    items: list[Item] = field(default_factory=list)
    item_sent_at: list[int] = field(default_factory=list)
    users: list[User] = field(default_factory=list)
    deleted_items: list[str] = field(default_factory=list)
    deleted_users: list[str] = field(default_factory=list)
    seen_items: list[tuple[str, int, int]] = field(default_factory=list)
    control: list[bytes] = field(default_factory=list)
    letters: list[DeadLetter] = field(default_factory=list)
    impressions: int = 0
    duplicates: int = 0
    shed: int = 0


def build_engagements(rows: Rows) -> Engagements:
    """Columns of the interactions among the rows, in order."""
    rows = _only(rows, RowKind.INTERACTION)
    user, item, action, context = (rows.objects[name].tolist() for name in (USER, ITEM, ACTION, CONTEXT))
    ts, sent_at = rows.numbers[TS].copy(), rows.numbers[SENT_AT].copy()
    return Engagements(ts, sent_at, user, item, action, rows.value.copy(), context)


def impression_ids(rows: Rows) -> list[str | None]:
    """Id of the impression that each interaction among the rows names, in order."""
    names: list[str | None] = _only(rows, RowKind.INTERACTION).objects[PAYLOAD].tolist()
    return names


def source_partitions(rows: Rows, partitions: NDArray[np.int64]) -> NDArray[np.int64]:
    """Partition that each interaction among the rows came from, (n,), by the consumer's numbers of its partitions."""
    return partitions[_only(rows, RowKind.INTERACTION).column(PART)]


def build_impressions(rows: Rows, partitions: NDArray[np.int64]) -> ImpressionBatch:
    """Columns of the impressions among the rows, in order; `partitions` as in `sources`."""
    rows = _only(rows, RowKind.IMPRESSION)
    if not len(rows):
        return ImpressionBatch()
    user, name, events = (rows.objects[column].tolist() for column in (USER, ID, PAYLOAD))
    return ImpressionBatch(
        rows.numbers[TS].copy(),
        user,
        name,
        [event.items for event in events],
        [event.context for event in events],
        partitions[rows.column(PART)],
    )


def _only(rows: Rows, kind: RowKind) -> Rows:
    which = rows.column(KIND) == kind
    return rows if which.all() else rows[which]


def collect_side_events(rows: Rows) -> SideEvents:
    """Everything among the rows that is no interaction."""
    out = SideEvents()
    which = np.flatnonzero(rows.column(KIND) != RowKind.INTERACTION)
    if len(which):
        kinds, sent = rows.column(KIND)[which].tolist(), rows.column(SENT_AT)[which].tolist()
        for kind, sent_at, payload in zip(kinds, sent, rows.objects[PAYLOAD, which].tolist(), strict=True):
            _add(out, kind, sent_at, payload)
        _settle(out)
    return out


def _add(out: SideEvents, kind: int, sent_at: int, payload: Any) -> None:
    if kind == RowKind.ITEM:
        out.items.append(payload)
        out.item_sent_at.append(sent_at)
        _forget(out.deleted_items, payload.id)
    elif kind == RowKind.USER:
        out.users.append(payload)
        _forget(out.deleted_users, payload.id)
    elif kind == RowKind.IMPRESSION:
        out.impressions += 1
        out.seen_items += _seen(payload, sent_at)
    elif kind == RowKind.DUPLICATE:
        out.duplicates += 1
    elif kind == RowKind.SHED:
        out.shed += 1
    else:
        lists: dict[int, list[Any]] = {
            RowKind.DELETED_ITEM: out.deleted_items,
            RowKind.DELETED_USER: out.deleted_users,
            RowKind.CONTROL: out.control,
            RowKind.DEAD: out.letters,
            RowKind.EMPTY: [],
        }
        lists[kind].append(payload)


def _seen(event: Impression, sent_at: int) -> Iterable[tuple[str, int, int]]:
    return [(str(item), event.ts, sent_at) for item in event.items]


def _forget(deleted: list[str], name: str | int) -> None:
    """Take back a deletion: what was deleted and then sent again is there."""
    while str(name) in deleted:
        deleted.remove(str(name))


def _settle(out: SideEvents) -> None:
    """Leave out what was sent and then deleted within the same batch, so that the order of lists tells no lie."""
    if gone := set(out.deleted_items):
        kept = [at for at, item in enumerate(out.items) if str(item.id) not in gone]
        out.items, out.item_sent_at = _pick(out.items, kept), _pick(out.item_sent_at, kept)
    if gone := set(out.deleted_users):
        out.users = [user for user in out.users if str(user.id) not in gone]
    out.deleted_items, out.deleted_users = (
        list(dict.fromkeys(out.deleted_items)),
        list(dict.fromkeys(out.deleted_users)),
    )


def _pick(values: Sequence[Any], at: Sequence[int]) -> list[Any]:
    return [values[i] for i in at]
