"""Rows of one partition that were read and are not merged yet."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hsnn.streaming.consumer.watermark import Rejections, order_keys
from hsnn.streaming.decode.event_table import NO_TIME, EventTable
from hsnn.streaming.log.records import Position
from hsnn.streaming.schema.topics import TopicRole


class PartitionBuffer:
    """The waiting rows of one partition; the first `keyed` of them have an order key.

    Attributes
    ----------
    number
        Index among the consumer's partitions: the smaller one goes first at equal keys.
    has_more
        Whether the log is known to hold more than was read.
    key
        Order key of the last row that was dropped; `NO_TIME` before the first.
    rejections
        Rejected jumps ahead that agree.
    """

    def __init__(self, position: Position, role: TopicRole, number: int, key: int = NO_TIME) -> None:
        self.position, self.role, self.number = position, role, number
        self.has_more = False
        self.key = key
        self.rejections = Rejections()
        self.keyed = 0
        self._rows = EventTable.with_size(0)
        self._outlier = self._confirmed = np.zeros(0, np.bool_)

    def __len__(self) -> int:
        return len(self._rows)

    def append(self, rows: EventTable) -> None:
        """Add the rows that were read next."""
        rows.partition[:] = self.number
        self._rows = EventTable.concat([self._rows, rows]) if len(self._rows) else rows

    def head(self, count: int) -> EventTable:
        """Return the first rows without removing them."""
        return self._rows[:count]

    def assign_order_keys(self, start: int, max_future: int) -> None:
        """Give order keys to the rows that have none yet, as far as what was read allows."""
        if self.keyed == len(self._rows):
            return
        ts = self._rows.ts[self.keyed :]
        order = order_keys(ts, self.last_key, start, max_future, complete=not self.has_more)
        stop = self.keyed + len(order.keys)
        self._rows.order_key[self.keyed : stop] = order.keys
        self._outlier = np.concatenate((self._outlier, order.outlier))
        self._confirmed = np.concatenate((self._confirmed, order.confirmed))
        self.keyed = stop

    @property
    def last_key(self) -> int:
        """Largest order key so far: no row still to come, read or not, has a smaller one."""
        return int(self._rows.order_key[self.keyed - 1]) if self.keyed else self.key

    def count_up_to(self, limit: tuple[int, int]) -> int:
        """Count the rows at or before (order key, number of the partition)."""
        keys = self._rows.order_key[: self.keyed]
        return int(np.searchsorted(keys, limit[0], side="right" if self.number <= limit[1] else "left"))

    def flags(self, count: int) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Return `outlier` and `confirmed` of the first rows; see `hsnn.streaming.consumer.watermark.OrderKeys`."""
        return self._outlier[:count], self._confirmed[:count]

    def drop_merged(self, count: int) -> None:
        """Drop the first rows, which were merged."""
        if count:
            self.key = int(self._rows.order_key[count - 1])
            self._shift(count)

    def drop_rejected(self) -> None:
        """Drop the first row and ignore its time: the rows after it get new order keys."""
        self._rows.order_key[0] = self.key
        self._shift(1)
        self.keyed, self._outlier, self._confirmed = 0, self._outlier[:0], self._confirmed[:0]

    def _shift(self, count: int) -> None:
        self._rows = self._rows[count:]
        self.keyed -= count
        self._outlier, self._confirmed = self._outlier[count:], self._confirmed[count:]
