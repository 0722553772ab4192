"""Merge partitions into one order: by event time, then partition, offset and index; the same order in every run.

A row is merged once no row still to come can belong before it: every partition that is known to hold more must have
been read past it. Events too far in the past are rejected here, where the watermark is known.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from hsnn.streaming.consumer.partition_buffer import PartitionBuffer
from hsnn.streaming.consumer.watermark import (
    WINDOW,
    ClockReading,
    EventTimeLimits,
    Watermark,
    corroborated,
    start_time,
)
from hsnn.streaming.dead_letters.reasons import DeadLetterReason
from hsnn.streaming.dead_letters.writer import DeadLetter
from hsnn.streaming.decode.event_table import NO_TIME, EventTable, RowKind
from hsnn.streaming.schema.timestamps import wrong_unit
from hsnn.streaming.schema.topics import TopicRole

# Later than any event time, ms; half of the largest int64, so that sums with it do not overflow.
_NO_LIMIT = 1 << 62


class Merger:
    """Merges the rows of several partitions and rejects those with an implausible event time.

    Parameters
    ----------
    partitions
        By number.
    limits
    watermark
        Advanced by every step.
    """

    def __init__(self, partitions: Sequence[PartitionBuffer], limits: EventTimeLimits, watermark: Watermark) -> None:
        self.partitions = partitions
        self.limits = limits
        self.watermark = watermark

    def merge_next(self) -> EventTable | None:
        """Merge rows that can be merged now; None if there are none. Call again until it is."""
        if not self._find_start():
            return None
        for partition in self.partitions:
            partition.assign_order_keys(self.watermark.start)
        rows = self._next_rows()
        if rows is None:
            return None
        reading = advance_watermark(self.watermark, rows, self.limits)
        rows.watermark[:] = reading.after
        self._reject_too_old(rows, np.flatnonzero(reading.too_old))
        return rows

    def _find_start(self) -> bool:
        """Set the start of stream time; False if more of the partitions must be read to know it."""
        if self.watermark.reference != NO_TIME:
            return True
        sources = [p for p in self.partitions if p.role is TopicRole.ENGAGEMENTS]
        firsts = [_engagement_times(p.head(4 * WINDOW))[:WINDOW] for p in sources]
        if any(
            p.has_more and len(first) < WINDOW and len(p) < 4 * WINDOW for p, first in zip(sources, firsts, strict=True)
        ):
            return False
        self.watermark.start = start_time(np.concatenate([*firsts, np.empty(0, np.int64)]))
        return True

    def _next_rows(self) -> EventTable | None:
        # Rows beyond the smallest last key of an unfinished partition must wait: that partition may still hold earlier
        # ones. At equal keys the partition with the smaller number goes first, so the number is part of the limit.
        limit = min(((p.last_key, p.number) for p in self.partitions if p.awaited), default=(_NO_LIMIT, 0))
        counts = [p.count_up_to(limit) for p in self.partitions]
        if not any(counts):
            return None
        chosen = [(p, count) for p, count in zip(self.partitions, counts, strict=True) if count]
        rows = EventTable.concat([p.head(count) for p, count in chosen])
        bases = np.concatenate([p.bases(count) for p, count in chosen])
        # A stable sort of rows that lie by partition and offset orders equal keys by partition, offset and index.
        order = np.argsort(rows.order_key, kind="stable")
        rows = rows[order]
        rows.order_base[:] = bases[order]
        for partition, count in chosen:
            partition.drop_merged(count)
        return rows

    def _reject_too_old(self, rows: EventTable, rejected: NDArray[np.intp]) -> None:
        """Turn rows into dead letters."""
        for row in rejected.tolist():
            ts, index, record = int(rows.ts[row]), int(rows.index[row]), rows.record(row)
            unit = wrong_unit(ts)
            detail = (
                f"its time is {ts}: {unit}"
                if unit
                else f"its time {ts} is too far behind the watermark {rows.watermark[row]}; streaming.max_past is "
                f"{self.limits.max_past / 1000:.0f} s"
            )
            rows.payload[row] = DeadLetter(record, index, DeadLetterReason.FAR_PAST, detail)
        rows.kind[rejected] = RowKind.DEAD


def advance_watermark(watermark: Watermark, rows: EventTable, limits: EventTimeLimits) -> ClockReading:
    """Have a watermark follow merged rows; duplicates and shed events move it as well."""
    kinds = rows.kind
    engagement = (kinds <= RowKind.IMPRESSION) | (kinds == RowKind.DUPLICATE) | (kinds == RowKind.SHED)
    return watermark.advance(np.where(engagement, rows.ts, NO_TIME), rows.sent_at, rows.user, limits)


def _engagement_times(rows: EventTable) -> NDArray[np.int64]:
    """Return the event times of the engagements among `rows`, at most the wall times at which they were sent, (m,)."""
    engagement = rows.kind <= RowKind.IMPRESSION
    return corroborated(rows.ts[engagement], rows.sent_at[engagement])
