"""Rows of one partition that were read and are not merged yet."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hsnn.streaming.consumer.watermark import EARLIEST, corroborated, order_keys
from hsnn.streaming.dead_letters.reasons import DeadLetterReason
from hsnn.streaming.dead_letters.writer import DeadLetter
from hsnn.streaming.decode.event_table import NO_TIME, EventTable, RowKind
from hsnn.streaming.log.records import Position
from hsnn.streaming.schema.topics import TopicRole


class PartitionBuffer:
    """The waiting rows of one partition; the first `keyed` of them have an order key.

    Parameters
    ----------
    position, role, number
        `number` is the index among the consumer's partitions: the smaller one goes first at equal keys.
    max_future : ms
        An engagement further than this ahead of the moment at which it was sent becomes a dead letter; a longer step
        from one row to the next is a jump.
    key, base
        See `hsnn.streaming.consumer.watermark.order_keys`.

    Attributes
    ----------
    has_more
        Whether the log is known to hold more than was read.
    loading
        Whether that is what the log held when this consumer started.
    key, base
        Order keys of the last row that was dropped; `NO_TIME` before the first.
    """

    def __init__(
        self,
        position: Position,
        role: TopicRole,
        number: int,
        *,
        max_future: int,
        key: int = NO_TIME,
        base: int = NO_TIME,
    ) -> None:
        self.position, self.role, self.number = position, role, number
        self.has_more = self.loading = False
        self.key, self.base = key, base
        self.keyed = 0
        self._max_future = max_future
        self._rows = EventTable.with_size(0)
        self._bases = np.zeros(0, np.int64)

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def awaited(self) -> bool:
        """Whether rows of other partitions must wait for what was not read of this one.

        The catalogue is state, not history: what it held at the start is read before anything is learned, and what
        comes later takes effect when it is read.
        """
        return self.has_more and (self.loading or self.role not in (TopicRole.ITEMS, TopicRole.USERS))

    def append(self, rows: EventTable) -> None:
        """Add the rows that were read next."""
        rows.partition[:] = self.number
        self._reject_far_future(rows)
        self._rows = EventTable.concat([self._rows, rows]) if len(self._rows) else rows
        # A jump that the rows so far did not settle is looked at again.
        keys = self._rows.order_key[: self.keyed]
        self.keyed = int(np.argmax(keys > self._bases)) if (keys > self._bases).any() else self.keyed
        self._bases = self._bases[: self.keyed]

    def _reject_far_future(self, rows: EventTable) -> None:
        """Turn engagements that are far ahead of the moment at which they were sent into dead letters."""
        ahead = np.where(rows.sent_at > EARLIEST, rows.ts - rows.sent_at, 0)
        for row in np.flatnonzero((ahead > self._max_future) & (rows.kind <= RowKind.IMPRESSION)).tolist():
            detail = (
                f"its time {rows.ts[row]} is {ahead[row] / 1000:.0f} s after {rows.sent_at[row]}, when it was sent; "
                f"streaming.max_future is {self._max_future / 1000:.0f} s"
            )
            record, index = rows.record(row), int(rows.index[row])
            rows.payload[row] = DeadLetter(record, index, DeadLetterReason.FAR_FUTURE, detail)
            rows.kind[row], rows.ts[row] = RowKind.DEAD, NO_TIME

    def head(self, count: int) -> EventTable:
        """Return the first rows without removing them."""
        return self._rows[:count]

    def assign_order_keys(self, start: int) -> None:
        """Give order keys to the rows that have none yet, as far as what was read allows."""
        if self.keyed == len(self._rows):
            return
        rows = self._rows[self.keyed :]
        order = order_keys(
            _order_times(rows),
            key=self.last_key,
            base=int(self._bases[-1]) if self.keyed else self.base,
            start=start,
            tolerance=self._max_future,
            complete=not self.has_more,
        )
        stop = self.keyed + len(order.keys)
        self._rows.order_key[self.keyed : stop] = order.keys
        self._bases = np.concatenate((self._bases, order.bases))
        self.keyed = stop

    @property
    def last_key(self) -> int:
        """Largest order key so far: no row still to come, read or not, has a smaller one."""
        return int(self._rows.order_key[self.keyed - 1]) if self.keyed else self.key

    def count_up_to(self, limit: tuple[int, int]) -> int:
        """Count the rows at or before (order key, number of the partition)."""
        keys = self._rows.order_key[: self.keyed]
        return int(np.searchsorted(keys, limit[0], side="right" if self.number <= limit[1] else "left"))

    def bases(self, count: int) -> NDArray[np.int64]:
        """Return `hsnn.streaming.consumer.watermark.OrderKeys.bases` of the first rows."""
        return self._bases[:count]

    def drop_merged(self, count: int) -> None:
        """Drop the first rows, which were merged."""
        if count:
            self.key, self.base = int(self._rows.order_key[count - 1]), int(self._bases[count - 1])
            self._rows = self._rows[count:]
            self.keyed -= count
            self._bases = self._bases[count:]


def _order_times(rows: EventTable) -> NDArray[np.int64]:
    """Return the times (n,) by which rows are ordered; descriptions of items and users have none.

    A user's deletion has one: what the user did before must not be learned after it.
    """
    timed = (rows.kind <= RowKind.IMPRESSION) | (rows.kind == RowKind.CONTROL)
    forgotten = rows.kind == RowKind.DELETED_USER
    return np.where(timed, rows.ts, np.where(forgotten, corroborated(rows.ts, rows.sent_at), NO_TIME))
