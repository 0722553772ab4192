"""Inspection of a mirror: summary, and descriptions of one item and of one user."""

from __future__ import annotations

import msgspec
import numpy as np

from hsnn.serving.errors import UnknownIdError
from hsnn.serving.mirror.mirror import Mirror
from hsnn.serving.schema import Request
from hsnn.serving.search.filters import excluded_rows
from hsnn.serving.search.queries import queries_from_requests, remembered_items
from hsnn.streaming.schema.events import Feature
from hsnn.trainer.features.expiry import NEVER
from hsnn.trainer.features.item_counters import HALF_LIVES, HOUR
from hsnn.trainer.features.user_memory import DISLIKED


class VersionSummary(msgspec.Struct, frozen=True, kw_only=True):
    """The version in use: its position in the stream (`epoch`, `events`, `watermark` in epoch ms), and sizes."""

    version: int
    epoch: int
    events: int
    watermark: int
    items: int
    indexed: int
    nodes: int
    users: int
    beam: int
    budget: int
    popularity_half_life_hours: float


class ItemState(msgspec.Struct, frozen=True, kw_only=True):
    """Times of the first and last engagement, epoch ms, and decayed counts by half-life."""

    first: int
    last: int
    counts: dict[str, float]


class ItemDescription(msgspec.Struct, frozen=True, kw_only=True):
    """One item; `fresh_seconds` is the time from its sending until it was retrievable here, if that was measured."""

    id: str
    indexed: bool
    retrievable: bool
    node: int | None
    expires_at: int | None
    deleted: bool
    features: dict[str, Feature]
    state: ItemState
    version: int
    as_of: int
    fresh_seconds: float | None = None


class PastItem(msgspec.Struct, frozen=True, kw_only=True):
    """An item that a user engaged with: `count` times, `last` at this time, epoch ms."""

    item: str
    last: int
    count: int = 1
    disliked: bool = False


class UserDescription(msgspec.Struct, frozen=True, kw_only=True):
    """One user.

    Attributes
    ----------
    history : the last engagements, oldest first, which the model reads
    remembered : distinct past items, oldest first
    seen : what is left out for this user now
    """

    id: str
    history: list[PastItem]
    remembered: list[PastItem]
    seen: list[str]
    version: int
    as_of: int


def summary(mirror: Mirror) -> VersionSummary:
    """Summarise version, position in the stream and sizes.

    Raises
    ------
    NotReadyError
        No version has been loaded yet.
    """
    with mirror.reading():
        state = mirror.state
        state.alive()
        return VersionSummary(
            version=state.index.version,
            epoch=mirror.epoch,
            events=state.events,
            watermark=state.watermark,
            items=state.corpus,
            indexed=len(state.index.leaves),
            nodes=state.index.config.leaves,
            users=len(state.users.ids),
            beam=state.index.config.beam,
            budget=state.index.config.budget,
            popularity_half_life_hours=HALF_LIVES[state.half_life] / HOUR,
        )


def describe(mirror: Mirror, item: str) -> ItemDescription:
    """Describe node, availability, state and features of an item.

    Raises
    ------
    NotReadyError
        No version has been loaded yet.
    UnknownIdError
        No such item is known.
    """
    with mirror.reading():
        state = mirror.state
        row = state.items.ids.row(item)
        if row < 0:
            raise UnknownIdError(f"no item {item!r} is known here")
        expiry = int(state.items.unavailable_from[row])
        counts = state.states.counts(slice(row, row + 1), state.watermark)[0].tolist()
        return ItemDescription(
            id=item,
            indexed=state.index.is_indexed(row),
            retrievable=state.is_retrievable(row),
            node=state.index.node(row),
            expires_at=expiry if 0 < expiry < NEVER else None,
            deleted=bool(state.items.deleted_at[row]),
            features=state.items.features.features(row),
            state=ItemState(
                first=int(state.states.first[row]),
                last=int(state.states.last[row]),
                counts={f"{half / HOUR:g}h": count for half, count in zip(HALF_LIVES, counts, strict=True)},
            ),
            version=state.index.version,
            as_of=state.watermark,
        )


def describe_user(mirror: Mirror, user: str) -> UserDescription:
    """Describe history and past items of a user, and which of them are left out.

    Raises
    ------
    NotReadyError
        No version has been loaded yet.
    UnknownIdError
        No such user is known.
    """
    with mirror.reading():
        state, asked = mirror.state, [Request(user=user)]
        if state.users.ids.row(user) < 0:
            raise UnknownIdError(f"no user {user!r} is known here")
        names, queries = state.items.ids.ids, queries_from_requests(state, asked)
        memory = remembered_items(state, queries, asked)
        excluded = excluded_rows(state, asked, queries, memory)[0]
        items, times = queries.history_items[0].tolist(), queries.history_times[0].tolist()
        return UserDescription(
            id=user,
            history=[
                PastItem(item=names[row], last=ts)
                for row, ts in zip(items, times, strict=True)
                if 0 <= row < len(names)  # the state of a user may come before that of a new item
            ],
            remembered=[
                PastItem(
                    item=names[memory.items[0, place]],
                    last=int(memory.times[0, place]),
                    count=int(memory.counts[0, place]),
                    disliked=bool(memory.flags[0, place] & DISLIKED),
                )
                for place in np.flatnonzero(memory.items[0] >= 0).tolist()
            ],
            seen=[names[row] for row in excluded.tolist() if row >= 0],
            version=state.index.version,
            as_of=state.watermark,
        )
