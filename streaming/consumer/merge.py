"""Several partitions become one order: by event time, then partition, offset and index; the same in every run.

A row is merged once no row still to come can belong before it: every partition that is known to hold more must have
been read past it. Times that are too far off are refused here, where the watermark is known.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hsnn.streaming.consumer.partition_buffer import PartitionBuffer
from hsnn.streaming.consumer.watermark import (
    EARLIEST,
    NO_TIME,
    QUORUM,
    WINDOW,
    EventTimeLimits,
    Rejections,
    Watermark,
    start_time,
)
from hsnn.streaming.dead_letters.writer import DeadLetter
from hsnn.streaming.decode.rows import INDEX, KEY, KIND, MARK, OFFSET, PART, PAYLOAD, SENT_AT, TS, RowKind, Rows, concat
from hsnn.streaming.schema.topics import TopicRole

_FOREVER = 1 << 62


class _Candidates(NamedTuple):
    rows: Rows
    stray: NDArray[np.bool_]
    proven: NDArray[np.bool_]
    engagement: NDArray[np.bool_]
    timed: NDArray[np.bool_]


class Merger:
    """Merge the rows of some partitions and refuse those whose time cannot be right.

    Parameters
    ----------
    partitions
        By number.
    limits
    watermark
        Moved on by every step.

    Attributes
    ----------
    strikes_after
        Strikes of a partition after a refused leap at (number of the partition, offset, index); whoever uses the rows
        takes them out.
    """

    def __init__(self, partitions: Sequence[PartitionBuffer], limits: EventTimeLimits, watermark: Watermark) -> None:
        self.partitions = partitions
        self.limits = limits
        self.watermark = watermark
        self.rejections_after: dict[tuple[int, int, int], Rejections] = {}

    def merge_next(self) -> Rows | None:
        """Merge what can be merged now; None if that is nothing. Call again until it is."""
        if not self._started():
            return None
        for partition in self.partitions:
            partition.assign_order_keys(self.watermark.start, self.limits.max_future)
        merged = self._merged()
        if merged is None:
            return None
        rows = merged.rows
        times = rows.column(TS)
        verdict = self.watermark.check(
            np.where(merged.engagement, times, NO_TIME),
            np.where(merged.timed, times, NO_TIME),
            self._latest(rows),
            self.limits,
        )
        if verdict.stop == 0:
            return self._leap(merged)
        return self._take(merged, verdict.stop, verdict.too_old, verdict.after)

    def _started(self) -> bool:
        """Whether it is known where stream time starts, or no engagement was read that could tell."""
        if self.watermark.reference != NO_TIME:
            return True
        sources = [p for p in self.partitions if p.role is TopicRole.ENGAGEMENTS]
        firsts = [_timed(p.head(4 * WINDOW))[:, :WINDOW] for p in sources]
        if any(
            p.has_more and first.shape[1] < WINDOW and len(p) < 4 * WINDOW
            for p, first in zip(sources, firsts, strict=True)
        ):
            return False
        first = np.concatenate([*firsts, np.empty((2, 0), np.int64)], axis=1)
        self.watermark.start = start_time(first[0, first[0] <= first[1] + self.limits.max_future])
        return True

    def _latest(self, rows: Rows) -> NDArray[np.int64]:
        sent = rows.column(SENT_AT)
        return np.where(sent > EARLIEST, sent + self.limits.max_future, _FOREVER)

    def _merged(self) -> _Candidates | None:
        limit = min(((p.last_key, p.number) for p in self.partitions if p.has_more), default=(_FOREVER, 0))
        counts = [p.count_up_to(limit) for p in self.partitions]
        if not any(counts):
            return None
        chosen = [(p, count) for p, count in zip(self.partitions, counts, strict=True) if count]
        rows = concat([p.head(count) for p, count in chosen])
        flags = [p.flags(count) for p, count in chosen]
        order = np.argsort(rows.column(KEY), kind="stable")
        rows = rows[order]
        stray, proven = (np.concatenate([flag[i] for flag in flags])[order] for i in (0, 1))
        kind = rows.column(KIND)
        engagement = (kind <= RowKind.IMPRESSION) & ~stray
        return _Candidates(rows, stray, proven, engagement, (kind <= RowKind.USER) & ~stray)

    def _take(self, merged: _Candidates, stop: int, too_old: NDArray[np.bool_], after: NDArray[np.int64]) -> Rows:
        rows = merged.rows[:stop]
        self._refuse(rows, np.flatnonzero(merged.stray[:stop] & (rows.column(KIND) <= RowKind.USER)), "far_future")
        self._refuse(rows, np.flatnonzero(too_old[:stop]), "far_past")
        rows.numbers[MARK] = after[:stop]
        for partition, count in zip(
            self.partitions, np.bincount(rows.column(PART), minlength=len(self.partitions)).tolist(), strict=True
        ):
            partition.drop_merged(count)
        self._clear_strikes(rows)
        self.watermark.value = int(after[stop - 1])
        return rows

    def _clear_strikes(self, rows: Rows) -> None:
        for partition in self.partitions:
            if partition.rejections.count and accepted_engagements(rows, partition.number).any():
                partition.rejections = Rejections()

    def _leap(self, merged: _Candidates) -> Rows | None:
        """Decide about a first row that is too far ahead of the watermark."""
        at = 0
        if not merged.engagement[0]:
            following = np.flatnonzero(merged.engagement)
            if len(following) and merged.proven[following[0]]:
                return self._one(merged, 0, believe=True)
            if len(following):
                at = int(following[0])
            elif any(partition.has_more for partition in self.partitions):
                return None  # the engagements of its time may be on their way
        partition = self.partitions[int(merged.rows.column(PART)[at])]
        if not merged.engagement[at]:
            return self._one(merged, at, believe=False)
        partition.rejections = partition.rejections.add(int(merged.rows.column(TS)[at]), self.limits.max_future)
        believe = bool(merged.proven[at]) or partition.rejections.count >= QUORUM
        if believe:
            partition.rejections = Rejections()
        else:
            place = (partition.number, *merged.rows.numbers[OFFSET : INDEX + 1, at].tolist())
            self.rejections_after[place] = partition.rejections
        return self._one(merged, at, believe)

    def _one(self, merged: _Candidates, at: int, believe: bool) -> Rows:
        """Take one row out of turn, with the unreadable ones of its partition that lie before it."""
        number = int(merged.rows.column(PART)[at])
        mine = np.flatnonzero(merged.rows.column(PART)[: at + 1] == number)
        rows = merged.rows[mine]
        partition = self.partitions[number]
        partition.drop_merged(len(mine) - 1)
        if believe:
            partition.drop_merged(1)
            if merged.engagement[at]:
                self.watermark.value = max(self.watermark.value, int(rows.column(TS)[-1]))
        else:
            rows.numbers[KEY, -1] = partition.key
            partition.drop_refused()
            self._refuse(rows, np.array([len(mine) - 1]), "far_future")
        rows.numbers[MARK] = self.watermark.value
        return rows

    def _refuse(self, rows: Rows, which: NDArray[np.intp], reason: str) -> None:
        for at in which.tolist():
            ts, index, record = int(rows.numbers[TS, at]), int(rows.numbers[INDEX, at]), rows.record(at)
            detail = (
                f"its time {ts} is too far from the watermark {self.watermark.reference}; {self.limits._asdict()} ms"
            )
            rows.objects[PAYLOAD, at] = DeadLetter(record, index, reason, detail)
        rows.numbers[KIND, which] = RowKind.DEAD


def accepted_engagements(rows: Rows, number: int) -> NDArray[np.bool_]:
    """Which rows are engagements of this partition that were believed, duplicates and dropped ones among them."""
    kinds = rows.column(KIND)
    found: NDArray[np.bool_] = (kinds <= RowKind.IMPRESSION) | (kinds == RowKind.DUPLICATE) | (kinds == RowKind.SHED)
    found &= rows.column(PART) == number
    return found


def _timed(rows: Rows) -> NDArray[np.int64]:
    """Event times and latest believable wall times of the engagements among `rows`, as two lines."""
    which = rows.column(KIND) <= RowKind.IMPRESSION
    sent = rows.column(SENT_AT)[which]
    return np.stack([rows.column(TS)[which], np.where(sent > EARLIEST, sent, _FOREVER // 2)])
