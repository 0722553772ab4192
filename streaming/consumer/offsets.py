"""Where a consumer stands: all it needs to go on after a restart, and nothing that depends on how it polled."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from hsnn.streaming.consumer.watermark import NO_TIME, Rejections, Watermark
from hsnn.streaming.decode.rows import INDEX, KEY, LAST, MARK, OFFSET, PART, SENT_AT, Rows
from hsnn.streaming.errors import StateError
from hsnn.streaming.log.records import Position

VERSION = 3


@dataclass(slots=True)
class PartitionProgress:
    """Where one partition stands, after the rows that were delivered.

    Attributes
    ----------
    offset, index
        Next event: record and event inside the record.
    key
        Order key of the last delivered row.
    strikes
        Refused leaps ahead in a row.
    """

    offset: int
    index: int = 0
    key: int = NO_TIME
    rejections: Rejections = field(default_factory=Rejections)


@dataclass(slots=True)
class EventCounts:
    """Events delivered so far, by what became of them; side topics (items, users, control) apart.

    Attributes
    ----------
    delivered
        Interactions.
    judged
        Impressions of which every item was judged.
    lost
        Records of a topic that were gone before they were read.
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

    def add_batch(self, delivered: int, judged: int, dead: int, side_dead: int, dropped: Mapping[str, int]) -> None:
        """Count a batch; `dropped` events, by reason, are left out on purpose."""
        self.delivered += delivered
        self.judged += judged
        self.dead_lettered += dead
        self.side_dead_lettered += side_dead
        for reason, count in dropped.items():
            if count:
                self.dropped[reason] = self.dropped.get(reason, 0) + count


@dataclass(slots=True)
class ConsumerProgress:
    """State of a consumer at a batch's end."""

    partitions: dict[Position, PartitionProgress]
    watermark: Watermark = field(default_factory=Watermark)
    counts: EventCounts = field(default_factory=EventCounts)
    sent_at: int = 0

    def advance(self, rows: Rows, partitions: list[Position]) -> None:
        """Move past delivered rows."""
        if not len(rows):
            return
        last = dict(zip(rows.column(PART).tolist(), range(len(rows)), strict=True))
        for number, at in last.items():
            place = self.partitions[partitions[number]]
            whole = bool(rows.numbers[LAST, at])
            place.offset = int(rows.numbers[OFFSET, at]) + whole
            place.index = 0 if whole else int(rows.numbers[INDEX, at]) + 1
            place.key = int(rows.numbers[KEY, at])
        self.watermark.value = max(self.watermark.value, int(rows.numbers[MARK, -1]))
        self.sent_at = int(rows.column(SENT_AT)[-1])

    def positions(self) -> dict[Position, int]:
        """Offset of the record that holds the next event, per partition."""
        return {position: place.offset for position, place in self.partitions.items()}

    def state_dict(self) -> dict[str, Any]:
        """Return plain values (dict, list, str, int), for JSON or msgpack."""
        return {
            "version": VERSION,
            "places": [
                [*position, place.offset, place.index, place.key, *_strikes(place)]
                for position, place in self.partitions.items()
            ],
            "watermark": asdict(self.watermark),
            "counts": asdict(self.counts),
            "sent_at": self.sent_at,
        }

    @classmethod
    def from_state_dict(cls, state: Mapping[str, Any]) -> ConsumerProgress:
        """Read `to_state` back.

        Raises
        ------
        StateError
            It is none, or of another version.
        """
        try:
            if state["version"] != VERSION:
                raise StateError(f"the consumer's state has version {state['version']}; this program reads {VERSION}")
            places = {
                (str(topic), int(number)): PartitionProgress(offset, index, key, Rejections(*strikes))
                for topic, number, offset, index, key, *strikes in state["places"]
            }
            counts = EventCounts(**state["counts"])
            counts.dropped, counts.lost = dict(counts.dropped), dict(counts.lost)
            return cls(places, Watermark(**state["watermark"]), counts, int(state["sent_at"]))
        except (KeyError, TypeError, ValueError) as error:
            if isinstance(error, StateError):
                raise
            raise StateError(
                f"this is no state of a consumer: {error!r}; start from a checkpoint of this program"
            ) from error


def _strikes(place: PartitionProgress) -> tuple[int, int, int]:
    return place.rejections.count, place.rejections.low, place.rejections.high


def skip_delivered(rows: Rows, place: PartitionProgress) -> Rows:
    """Leave out the events of a record that were delivered before a restart in its middle."""
    if place.index == 0:
        return rows
    done = (rows.column(OFFSET) == place.offset) & (rows.column(INDEX) < place.index)
    return rows[~done] if np.any(done) else rows
