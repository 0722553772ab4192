"""Records as they are read from a log: one by one, and as columns for the thousands of a poll."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple, overload

import numpy as np
from numpy.typing import NDArray

Position = tuple[str, int]
"""A partition of a topic: (topic, partition)."""

Headers = tuple[tuple[str, bytes], ...]

UNREADABLE = "hsnn-unreadable"
"""Header of a record without value that stands for a batch of records that cannot be read, with the reason."""


class Record(NamedTuple):
    """One record of a log; `value` None marks a deletion in a compacted topic; `sent_at` is epoch ms."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: Headers
    sent_at: int


class RecordBatch(Sequence[Record]):
    """n records of one partition as columns, in offset order.

    Attributes
    ----------
    position
        Topic and partition.
    offsets : (n,) int64
        Ascending, possibly with gaps.
    keys, values, headers : n each
    sent_at : (n,) int64
        Epoch ms, as the producer stamped them.

    Examples
    --------
    >>> records = RecordBatch.from_records([Record("t", 0, 7, b"k", b"v", (), 5), Record("t", 0, 9, None, b"w", (), 6)])
    >>> records.values, records.at_offset(9).value, len(records[1:])
    ([b'v', b'w'], b'w', 1)
    """

    __slots__ = ("headers", "keys", "offsets", "position", "sent_at", "values")

    def __init__(
        self,
        position: Position,
        offsets: NDArray[np.int64],
        keys: Sequence[bytes | None],
        values: Sequence[bytes | None],
        headers: Sequence[Headers],
        sent_at: NDArray[np.int64],
    ) -> None:
        self.position, self.offsets, self.sent_at = position, offsets, sent_at
        self.keys, self.values, self.headers = keys, values, headers

    @classmethod
    def from_records(cls, records: Sequence[Record]) -> RecordBatch:
        """Make columns of the records, one or more, of one partition."""
        _, _, offsets, keys, values, headers, sent_at = map(list, zip(*records, strict=True))
        return cls(
            records[0][:2],
            offsets=np.array(offsets, np.int64),
            keys=keys,
            values=values,
            headers=headers,
            sent_at=np.array(sent_at, np.int64),
        )

    def __len__(self) -> int:
        return len(self.values)

    @overload
    def __getitem__(self, index: int) -> Record: ...

    @overload
    def __getitem__(self, index: slice) -> RecordBatch: ...

    def __getitem__(self, index: int | slice) -> Record | RecordBatch:
        offsets, sent_at = self.offsets[index], self.sent_at[index]
        if isinstance(index, slice):
            return RecordBatch(
                self.position,
                offsets=offsets,
                keys=self.keys[index],
                values=self.values[index],
                headers=self.headers[index],
                sent_at=sent_at,
            )
        return Record(
            *self.position,
            offset=int(offsets),
            key=self.keys[index],
            value=self.values[index],
            headers=self.headers[index],
            sent_at=int(sent_at),
        )

    def __iter__(self) -> Iterator[Record]:
        return map(self.__getitem__, range(len(self)))

    @property
    def size(self) -> int:
        """Total bytes of the values."""
        return sum(map(len, filter(None, self.values)))

    def at_offset(self, offset: int) -> Record:
        """Return the record that has this offset, which must be one of `offsets`."""
        return self[int(np.searchsorted(self.offsets, offset))]
