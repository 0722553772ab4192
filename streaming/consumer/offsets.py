"""Progress of a consumer: everything it needs to go on after a restart, and nothing that depends on how it polled."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from hsnn.streaming.consumer.merge import advance_watermark
from hsnn.streaming.consumer.watermark import EventTimeLimits, Watermark
from hsnn.streaming.decode.event_table import NO_TIME, EventTable
from hsnn.streaming.errors import StateError
from hsnn.streaming.log.records import Position

VERSION = 4
"""Version of the layout of `ConsumerProgress.state_dict`; a state of another version is refused."""


@dataclass(slots=True)
class PartitionProgress:
    """Progress in one partition, after the rows that were delivered.

    Attributes
    ----------
    offset, index
        Next event: record, and event inside the record.
    key, base
        Order keys of the last delivered row, with and without jumps that are not confirmed.
    """

    offset: int
    index: int = 0
    key: int = NO_TIME
    base: int = NO_TIME


@dataclass(slots=True)
class EventCounts:
    """Events delivered so far, by what became of them; those of items, users and control apart.

    Attributes
    ----------
    delivered
        Interactions.
    judged
        Impressions of which every item was labelled.
    dead_lettered, side_dead_lettered
        Unreadable or implausible events of the engagements topic, and of the other topics.
    dropped
        Engagements that were left out on purpose, by reason.
    lost
        Records that were gone before they were read, by topic.
    """

    delivered: int = 0
    judged: int = 0
    dead_lettered: int = 0
    dropped: dict[str, int] = field(default_factory=dict)
    side_dead_lettered: int = 0
    lost: dict[str, int] = field(default_factory=dict)

    def add_lost(self, topic: str, records: int) -> None:
        """Count records that were gone before they were read."""
        if records:
            self.lost[topic] = self.lost.get(topic, 0) + records

    def add_batch(
        self,
        *,
        delivered: int,
        judged: int,
        dead_lettered: int,
        side_dead_lettered: int,
        dropped: Mapping[str, int],
    ) -> None:
        """Add the events of a batch."""
        self.delivered += delivered
        self.judged += judged
        self.dead_lettered += dead_lettered
        self.side_dead_lettered += side_dead_lettered
        for reason, count in dropped.items():
            if count:
                self.dropped[reason] = self.dropped.get(reason, 0) + count


@dataclass(slots=True)
class ConsumerProgress:
    """Progress of a consumer at the end of a batch.

    Attributes
    ----------
    partitions
    watermark
    counts
    sent_at
        Wall time at which the last delivered event was sent, epoch ms.
    """

    partitions: dict[Position, PartitionProgress]
    watermark: Watermark = field(default_factory=Watermark)
    counts: EventCounts = field(default_factory=EventCounts)
    sent_at: int = 0

    def advance(self, rows: EventTable, positions: list[Position], limits: EventTimeLimits) -> None:
        """Move past delivered rows; `positions` are the partitions by number."""
        if not len(rows):
            return
        # A dict keeps the last value of a key: the last row of each partition.
        last_rows = dict(zip(rows.partition.tolist(), range(len(rows)), strict=True))
        for number, row in last_rows.items():
            partition = self.partitions[positions[number]]
            ends_record = bool(rows.ends_record[row])
            partition.offset = int(rows.offset[row]) + ends_record
            partition.index = 0 if ends_record else int(rows.index[row]) + 1
            partition.key, partition.base = int(rows.order_key[row]), int(rows.order_base[row])
        advance_watermark(self.watermark, rows, limits)
        self.sent_at = int(rows.sent_at[-1])

    def positions(self) -> dict[Position, int]:
        """Return the offset of the record that holds the next event, per partition."""
        return {position: partition.offset for position, partition in self.partitions.items()}

    def state_dict(self) -> dict[str, Any]:
        """Return plain values (dict, list, str, int), for JSON or msgpack."""
        return {
            "version": VERSION,
            "places": [
                [*position, partition.offset, partition.index, partition.key, partition.base]
                for position, partition in self.partitions.items()
            ],
            "watermark": self.watermark.state_dict(),
            "counts": asdict(self.counts),
            "sent_at": self.sent_at,
        }

    @classmethod
    def from_state_dict(cls, state: Mapping[str, Any]) -> ConsumerProgress:
        """Restore what `state_dict` returned.

        Raises
        ------
        StateError
            It is no state of a consumer, or one of another version.
        """
        try:
            if state["version"] == 3:
                state = _from_version_3(state)
            if state["version"] != VERSION:
                raise StateError(
                    f"the consumer's state has version {state['version']}; this program reads 3, {VERSION}"
                )
            partitions = {
                (str(topic), int(number)): PartitionProgress(offset, index, key, base)
                for topic, number, offset, index, key, base in state["places"]
            }
            counts = EventCounts(**state["counts"])
            counts.dropped, counts.lost = dict(counts.dropped), dict(counts.lost)
            return cls(partitions, Watermark.from_state_dict(state["watermark"]), counts, int(state["sent_at"]))
        except (KeyError, TypeError, ValueError) as error:
            if isinstance(error, StateError):
                raise
            raise StateError(
                f"this is no state of a consumer: {error!r}; start from a checkpoint of this program"
            ) from error


def _from_version_3(state: Mapping[str, Any]) -> dict[str, Any]:
    """Convert a state with rejections per partition, and a watermark that any accepted event moved."""
    places = [[*place[:5], place[4]] for place in state["places"]]
    return {**state, "version": VERSION, "places": places, "watermark": {**state["watermark"], "votes": [], "ahead": 0}}


def skip_delivered(rows: EventTable, partition: PartitionProgress) -> EventTable:
    """Leave out the events of a record that were delivered before a restart in its middle."""
    if partition.index == 0:
        return rows
    delivered = (rows.offset == partition.offset) & (rows.index < partition.index)
    return rows[~delivered] if np.any(delivered) else rows
