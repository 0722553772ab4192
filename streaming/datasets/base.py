"""`Dataset`: engagements as columns in memory, with the items and users that arrive before them."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hsnn.streaming.config import StreamingConfig
from hsnn.streaming.join.joiner import NOT_ENDED, ImpressionBatch, Joiner, JoinResult, joiner_from_config
from hsnn.streaming.schema.batch import Batch, Engagements, gather
from hsnn.streaming.schema.events import Event, Impression, Interaction, Item, Scalar, User

ENGAGEMENTS, ITEMS, USERS = "engagements", "items", "users"
"""Topics of `Dataset.events`; a producer maps them to the configured names."""


class DataError(Exception):
    """A data set is missing, has an unknown format or the wrong checksum; the text says what to do."""


@dataclass(frozen=True, slots=True)
class Impressions:
    """Impressions as columns, in event-time order; row ``j`` of every column is one event.

    Attributes
    ----------
    ts : (m,) int64
        Event time, epoch ms.
    user : m texts
    items : m lists of texts
        What was shown.
    context : m mappings or None
    """

    ts: NDArray[np.int64]
    user: Sequence[str]
    items: Sequence[list[str]]
    context: Sequence[dict[str, Scalar] | None]

    def __len__(self) -> int:
        return len(self.ts)


@dataclass(frozen=True, slots=True)
class Dataset:
    """Events of one data set, ordered by event time; ties keep the order of the source.

    Attributes
    ----------
    name
        Its name in `hsnn.streaming.datasets.registry`.
    engagements
        The interactions. `sent_at` equals `ts`: they were not sent yet. Rows share contexts, which must not be changed.
    items, users
        Events whose `ts` is before the first engagement with the item or user, 1 ms where the source has no time.
    titles
        Item id -> title for display, for items that have one.
    expire_after_idle
        Suggested stream time in seconds after which an item without engagements expires; None: never.
    impressions
        What was shown, if the source has it; else None.
    links : (n,) int64 or None
        Row of the impression that each interaction answers, -1 for none.
    sequence : (n + m,) int64
        All engagement events in order: ``i >= 0`` is interaction ``i``, ``-1 - j`` is impression ``j``.
    """

    name: str
    engagements: Engagements
    items: list[Item]
    users: list[User]
    titles: Mapping[str, str]
    sequence: NDArray[np.int64]
    expire_after_idle: float | None = None
    impressions: Impressions | None = None
    links: NDArray[np.int64] | None = None

    def __len__(self) -> int:
        """Count the engagement events: interactions and impressions."""
        return len(self.sequence)

    def title(self, item: str) -> str:
        """Return the title of an item, or a text with its id if it has none."""
        return self.titles.get(item, f"item {item}")

    def interaction(self, row: int) -> Interaction:
        """Return interaction `row` as an event; its id is ``i<row>``, the same on every load."""
        e = self.engagements
        link = -1 if self.links is None else int(self.links[row])
        value = float(e.value[row])
        return Interaction(
            id=f"i{row}",
            ts=int(e.ts[row]),
            user=e.user[row],
            item=e.item[row],
            action=e.action[row],
            value=None if np.isnan(value) else value,
            impression=None if link < 0 else f"s{link}",
            context=e.context[row],
        )

    def impression(self, row: int) -> Impression:
        """Return impression `row` as an event; its id is ``s<row>``.

        Raises
        ------
        IndexError
            The data set has no such impression.
        """
        if self.impressions is None:
            raise IndexError(f"{self.name} has no impressions")
        s = self.impressions
        return Impression(
            id=f"s{row}", ts=int(s.ts[row]), user=s.user[row], items=[*s.items[row]], context=s.context[row]
        )

    def impression_ids(self, start: int, stop: int) -> list[str | None]:
        """Return the ids of the impressions that interactions `start` to `stop` answer; None where there is none."""
        links = np.full(stop - start, -1) if self.links is None else self.links[start:stop]
        return [None if link < 0 else f"s{link}" for link in links.tolist()]

    def events(self) -> Iterator[tuple[str, bytes, Event]]:
        """Yield all events as (topic, key, event) by event time; at equal times items, then users, then engagements."""
        for kind, row in zip(*self._order(), strict=True):
            if kind == 0:
                item = self.items[row]
                yield ITEMS, str(item.id).encode(), item
            elif kind == 1:
                user = self.users[row]
                yield USERS, str(user.id).encode(), user
            else:
                index = int(self.sequence[row])
                event = self.interaction(index) if index >= 0 else self.impression(-1 - index)
                yield ENGAGEMENTS, str(event.user).encode(), event

    def batches(
        self, batch_size: int, config: StreamingConfig | None = None, edges: Sequence[int] = ()
    ) -> Iterator[Batch]:
        """Yield the same events as batches of exactly `batch_size` interactions; only the last may be shorter.

        A batch also ends before each interaction in `edges`, ascending.

        Each batch carries the items and users that arrive up to its last engagement. Positions count engagement events,
        items and users on partition 0 of their topics. If `config` names tasks, impressions are joined as the consumer
        does it, and all that wait at the end are labelled with the last batch.

        Raises
        ------
        ValueError
            `batch_size` is less than 1.
        """
        if batch_size < 1:
            raise ValueError(f"batch_size is {batch_size}; it must be at least 1")
        joiner = None if config is None else joiner_from_config(config)
        return _batches(self, batch_size, joiner, edges)

    def event_times(self) -> NDArray[np.int64]:
        """Return the event time of every engagement event, (n + m,) epoch ms, in order."""
        if self.impressions is None:
            return self.engagements.ts
        # `sequence` has -1 - j for impression j, which is its index from the end if the impressions are reversed.
        both = np.concatenate([self.engagements.ts, self.impressions.ts[::-1]])
        return both[self.sequence]

    def _order(self) -> tuple[list[int], list[int]]:
        parts = [_times(self.items), _times(self.users), self.event_times()]
        kinds = np.repeat(np.arange(3), [len(part) for part in parts])
        rows = np.concatenate([np.arange(len(part)) for part in parts])
        order = np.lexsort((rows, kinds, np.concatenate(parts)))
        return kinds[order].tolist(), rows[order].tolist()


def _times(events: Sequence[Any]) -> NDArray[np.int64]:
    return np.fromiter((event.ts for event in events), np.int64, len(events))


def _batches(data: Dataset, size: int, joiner: Joiner | None, edges: Sequence[int]) -> Iterator[Batch]:
    interactions = np.flatnonzero(data.sequence >= 0)  # their indices in `sequence`
    times, item_times, user_times = data.event_times(), _times(data.items), _times(data.users)
    start = begin = item = user = 0
    while start < len(interactions):
        edge = bisect_right(edges, start)
        stop = min(start + size, len(interactions), *edges[edge : edge + 1])
        last = stop == len(interactions)
        end = len(data.sequence) if last else int(interactions[stop - 1]) + 1
        watermark = int(times[end - 1])
        next_item = int(np.searchsorted(item_times, watermark, "right"))
        next_user = int(np.searchsorted(user_times, watermark, "right"))
        items = data.items[item:next_item]
        events, sequence = data.engagements.slice(start, stop), data.sequence[begin:end]
        joined = JoinResult(events)
        if joiner is not None:
            joined = joiner.update(
                events,
                data.impression_ids(start, stop),
                _impression_batch(data, sequence),
                watermark=watermark,
                ended_at=watermark if last else NOT_ENDED,
            )
        yield Batch(
            **joined.batch_fields(),
            positions={(ENGAGEMENTS, 0): end, (ITEMS, 0): next_item, (USERS, 0): next_user},
            watermark=watermark,
            items=items,
            item_sent_at=[event.ts for event in items],
            users=data.users[user:next_user],
            seen_items=_shown_items(data, sequence),
            caught_up=last,
        )
        start, begin, item, user = stop, end, next_item, next_user


def _impression_batch(data: Dataset, sequence: NDArray[np.int64]) -> ImpressionBatch:
    shown = data.impressions
    rows = -1 - sequence[sequence < 0]
    if shown is None or not len(rows):
        return ImpressionBatch()
    listed = rows.tolist()
    return ImpressionBatch(
        ts=shown.ts[rows],
        user=gather(shown.user, listed),
        impression_id=[f"s{row}" for row in listed],
        items=gather(shown.items, listed),
        context=gather(shown.context, listed),
    )


def _shown_items(data: Dataset, sequence: NDArray[np.int64]) -> list[tuple[str, int, int]]:
    shown = data.impressions
    if shown is None:
        return []
    rows = (-1 - sequence[sequence < 0]).tolist()
    return [(item, int(shown.ts[row]), int(shown.ts[row])) for row in rows for item in shown.items[row]]
