"""What was read of one partition and is not merged yet."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hsnn.streaming.consumer.watermark import NO_TIME, Rejections, order_keys
from hsnn.streaming.decode.rows import KEY, PART, TS, Rows, concat, no_rows
from hsnn.streaming.log.records import Position
from hsnn.streaming.schema.topics import TopicRole


class PartitionBuffer:
    """The waiting rows of one partition, the first `keyed` of them with their place in the merge.

    Attributes
    ----------
    number
        Rank among the consumer's partitions: who goes first at equal keys.
    open
        Whether the log is known to hold more than was read.
    key
        Order key of the last row that left; `NO_TIME` before the first.
    strikes
        Refused leaps ahead that agree.
    """

    def __init__(self, position: Position, role: TopicRole, number: int, key: int = NO_TIME) -> None:
        self.position, self.role, self.number = position, role, number
        self.has_more = False
        self.key = key
        self.rejections = Rejections()
        self.keyed = 0
        self._rows = no_rows()
        self._stray = self._proven = np.zeros(0, np.bool_)

    def __len__(self) -> int:
        return len(self._rows)

    def append(self, rows: Rows) -> None:
        """Add what was read next."""
        rows.numbers[PART] = self.number
        self._rows = concat([self._rows, rows]) if len(self._rows) else rows

    def head(self, count: int) -> Rows:
        """Look at the first rows."""
        return self._rows[:count]

    def assign_order_keys(self, start: int, max_future: int) -> None:
        """Give order keys to the rows that have none yet, as far as what was read allows."""
        if self.keyed == len(self._rows):
            return
        todo = self._rows.column(TS)[self.keyed :]
        order = order_keys(todo, self.last_key, start, max_future, complete=not self.has_more)
        m = len(order.keys)
        self._rows.numbers[KEY, self.keyed : self.keyed + m] = order.keys
        self._stray = np.concatenate((self._stray, order.outlier))
        self._proven = np.concatenate((self._proven, order.confirmed))
        self.keyed += m

    @property
    def last_key(self) -> int:
        """No row still to come, read or not, has a smaller key than this."""
        return int(self._rows.numbers[KEY, self.keyed - 1]) if self.keyed else self.key

    def count_up_to(self, limit: tuple[int, int]) -> int:
        """How many rows lie at or before (key, number of the partition)."""
        keys = self._rows.column(KEY)[: self.keyed]
        return int(np.searchsorted(keys, limit[0], side="right" if self.number <= limit[1] else "left"))

    def flags(self, count: int) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """`stray` and `proven` of the first rows; see `hsnn.streaming.consumer.watermark.OrderKeys`."""
        return self._stray[:count], self._proven[:count]

    def drop_merged(self, count: int) -> None:
        """Let the first rows go: they were merged."""
        if count:
            self.key = int(self._rows.numbers[KEY, count - 1])
            self._shift(count)

    def drop_refused(self) -> None:
        """Let the first row go and forget its time: what follows finds its order anew."""
        self._rows.numbers[KEY, 0] = self.key
        self._shift(1)
        self.keyed, self._stray, self._proven = 0, self._stray[:0], self._proven[:0]

    def _shift(self, count: int) -> None:
        self._rows = self._rows[count:]
        self.keyed -= count
        self._stray, self._proven = self._stray[count:], self._proven[count:]
