"""Merge partitions into one order: by event time, then partition, offset and index; the same order in every run.

A row is merged once no row still to come can belong before it: every partition that is known to hold more must have
been read past it. Implausible event times are rejected here, where the watermark is known.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hsnn.streaming.consumer.partition_buffer import PartitionBuffer
from hsnn.streaming.consumer.watermark import (
    EARLIEST,
    QUORUM,
    WINDOW,
    EventTimeCheck,
    EventTimeLimits,
    Rejections,
    Watermark,
    start_time,
)
from hsnn.streaming.dead_letters.reasons import DeadLetterReason
from hsnn.streaming.dead_letters.writer import DeadLetter
from hsnn.streaming.decode.event_table import NO_TIME, EventTable, RowKind
from hsnn.streaming.schema.topics import TopicRole

# Later than any event time, ms; half of the largest int64, so that sums with it do not overflow.
_NO_LIMIT = 1 << 62


class _Candidates(NamedTuple):
    """Rows in merge order that may be merged now, and what is known of each."""

    rows: EventTable
    outlier: NDArray[np.bool_]
    confirmed: NDArray[np.bool_]
    engagement: NDArray[np.bool_]  # engagements that are no outliers
    timed: NDArray[np.bool_]  # rows with a time that may be too far ahead, outliers left out


class Merger:
    """Merges the rows of several partitions and rejects those with an implausible event time.

    Parameters
    ----------
    partitions
        By number.
    limits
    watermark
        Advanced by every step.

    Attributes
    ----------
    rejections_after
        Rejections of a partition after a rejected jump ahead at (number of the partition, offset, index). The code that
        delivers the row removes the entry.
    """

    def __init__(self, partitions: Sequence[PartitionBuffer], limits: EventTimeLimits, watermark: Watermark) -> None:
        self.partitions = partitions
        self.limits = limits
        self.watermark = watermark
        self.rejections_after: dict[tuple[int, int, int], Rejections] = {}

    def merge_next(self) -> EventTable | None:
        """Merge rows that can be merged now; None if there are none. Call again until it is."""
        if not self._find_start():
            return None
        for partition in self.partitions:
            partition.assign_order_keys(self.watermark.start, self.limits.max_future)
        candidates = self._candidates()
        if candidates is None:
            return None
        rows = candidates.rows
        check = self.watermark.check(
            engagements=np.where(candidates.engagement, rows.ts, NO_TIME),
            timed=np.where(candidates.timed, rows.ts, NO_TIME),
            latest=self._latest_plausible(rows),
            limits=self.limits,
        )
        if check.stop == 0:
            return self._decide_jump(candidates)
        return self._take_until_jump(candidates, check)

    def _find_start(self) -> bool:
        """Set the start of stream time; False if more of the partitions must be read to know it."""
        if self.watermark.reference != NO_TIME:
            return True
        sources = [p for p in self.partitions if p.role is TopicRole.ENGAGEMENTS]
        firsts = [_engagement_times(p.head(4 * WINDOW))[:, :WINDOW] for p in sources]
        if any(
            p.has_more and first.shape[1] < WINDOW and len(p) < 4 * WINDOW
            for p, first in zip(sources, firsts, strict=True)
        ):
            return False
        times, sent = np.concatenate([*firsts, np.empty((2, 0), np.int64)], axis=1)
        self.watermark.start = start_time(times[times <= sent + self.limits.max_future])
        return True

    def _latest_plausible(self, rows: EventTable) -> NDArray[np.int64]:
        """Latest event time that each row's wall time allows, (n,); there is no limit where that says nothing."""
        return np.where(rows.sent_at > EARLIEST, rows.sent_at + self.limits.max_future, _NO_LIMIT)

    def _candidates(self) -> _Candidates | None:
        # Rows beyond the smallest last key of an unfinished partition must wait: that partition may still hold earlier
        # ones. At equal keys the partition with the smaller number goes first, so the number is part of the limit.
        limit = min(((p.last_key, p.number) for p in self.partitions if p.has_more), default=(_NO_LIMIT, 0))
        counts = [p.count_up_to(limit) for p in self.partitions]
        if not any(counts):
            return None
        chosen = [(p, count) for p, count in zip(self.partitions, counts, strict=True) if count]
        rows = EventTable.concat([p.head(count) for p, count in chosen])
        flags = [p.flags(count) for p, count in chosen]
        # A stable sort of rows that lie by partition and offset orders equal keys by partition, offset and index.
        order = np.argsort(rows.order_key, kind="stable")
        rows = rows[order]
        outlier, confirmed = (np.concatenate(columns)[order] for columns in zip(*flags, strict=True))
        engagement = (rows.kind <= RowKind.IMPRESSION) & ~outlier
        return _Candidates(rows, outlier, confirmed, engagement, timed=(rows.kind <= RowKind.USER) & ~outlier)

    def _take_until_jump(self, candidates: _Candidates, check: EventTimeCheck) -> EventTable:
        """Merge the rows before the first one that is too far ahead."""
        rows = candidates.rows[: check.stop]
        outliers = candidates.outlier[: check.stop] & (rows.kind <= RowKind.USER)
        self._reject(rows, np.flatnonzero(outliers), DeadLetterReason.FAR_FUTURE)
        self._reject(rows, np.flatnonzero(check.too_old[: check.stop]), DeadLetterReason.FAR_PAST)
        rows.watermark[:] = check.after[: check.stop]
        counts = np.bincount(rows.partition, minlength=len(self.partitions)).tolist()
        for partition, count in zip(self.partitions, counts, strict=True):
            partition.drop_merged(count)
        for partition in self.partitions:
            if partition.rejections.count and accepted_engagements(rows, partition.number).any():
                partition.rejections = Rejections()
        self.watermark.value = int(check.after[check.stop - 1])
        return rows

    def _decide_jump(self, candidates: _Candidates) -> EventTable | None:
        """Accept or reject a first row that is too far ahead of the watermark; None if more must be read for that."""
        row = 0
        if not candidates.engagement[0]:
            # An item or user from the future is accepted if the engagements that follow have moved there, too.
            following = np.flatnonzero(candidates.engagement)
            if len(following) and candidates.confirmed[following[0]]:
                return self._take_one(candidates, 0, accept=True)
            if len(following):
                row = int(following[0])
            elif any(partition.has_more for partition in self.partitions):
                return None  # the engagements of its time may still be unread
        if not candidates.engagement[row]:
            return self._take_one(candidates, row, accept=False)
        ts = int(candidates.rows.ts[row])
        partition = self.partitions[int(candidates.rows.partition[row])]
        partition.rejections = partition.rejections.add(ts, self.limits.max_future)
        accept = bool(candidates.confirmed[row]) or partition.rejections.count >= QUORUM
        if accept:
            partition.rejections = Rejections()
        else:
            self.rejections_after[candidates.rows.event_position(row)] = partition.rejections
        return self._take_one(candidates, row, accept)

    def _take_one(self, candidates: _Candidates, row: int, accept: bool) -> EventTable:
        """Merge one row out of order, with the unreadable ones of its partition that lie before it."""
        number = int(candidates.rows.partition[row])
        rows = candidates.rows[np.flatnonzero(candidates.rows.partition[: row + 1] == number)]
        partition = self.partitions[number]
        partition.drop_merged(len(rows) - 1)
        if accept:
            partition.drop_merged(1)
            if candidates.engagement[row]:
                self.watermark.value = max(self.watermark.value, int(rows.ts[-1]))
        else:
            rows.order_key[-1] = partition.key
            partition.drop_rejected()
            self._reject(rows, np.array([len(rows) - 1]), DeadLetterReason.FAR_FUTURE)
        rows.watermark[:] = self.watermark.value
        return rows

    def _reject(self, rows: EventTable, rejected: NDArray[np.intp], reason: DeadLetterReason) -> None:
        """Turn rows into dead letters."""
        for row in rejected.tolist():
            ts, index, record = int(rows.ts[row]), int(rows.index[row]), rows.record(row)
            detail = (
                f"its time {ts} is too far from the watermark {self.watermark.reference}; {self.limits._asdict()} ms"
            )
            rows.payload[row] = DeadLetter(record, index, reason, detail)
        rows.kind[rejected] = RowKind.DEAD


def accepted_engagements(rows: EventTable, partition: int) -> NDArray[np.bool_]:
    """Say which rows are engagements of a partition with an accepted time, (n,); duplicates and shed ones are, too."""
    accepted: NDArray[np.bool_] = rows.kind <= RowKind.IMPRESSION
    accepted |= (rows.kind == RowKind.DUPLICATE) | (rows.kind == RowKind.SHED)
    accepted &= rows.partition == partition
    return accepted


def _engagement_times(rows: EventTable) -> NDArray[np.int64]:
    """Event times of the engagements among `rows`, and the wall times that limit them, (2, m)."""
    engagement = rows.kind <= RowKind.IMPRESSION
    sent = rows.sent_at[engagement]
    # Half of it: `max_future` is added.
    return np.stack([rows.ts[engagement], np.where(sent > EARLIEST, sent, _NO_LIMIT // 2)])
