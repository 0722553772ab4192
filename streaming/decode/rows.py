"""Decoded events on their way to a batch: small tables, so that merging moves columns, never objects one by one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from hsnn.streaming.log.records import Record, Records

NO_TIME = -1
"""Event time of rows that have none: unreadable records, deletions, commands."""

# A producer's wall time may be anything, and is added to later on.
_LATEST = 1 << 53


class RowKind(IntEnum):
    """What a row is."""

    INTERACTION = 0
    IMPRESSION = 1
    ITEM = 2
    USER = 3
    DELETED_ITEM = 4
    DELETED_USER = 5
    CONTROL = 6
    DEAD = 7
    EMPTY = 8
    DUPLICATE = 9
    SHED = 10


TS, SENT_AT, OFFSET, INDEX, LAST, KIND, KEY, PART, MARK = range(9)
USER, ITEM, ACTION, CONTEXT, PAYLOAD, RECORD, ID = range(7)


@dataclass(frozen=True, slots=True)
class Rows:
    """n events of one or several partitions, as columns.

    Attributes
    ----------
    numbers : (9, n) int64
        Event time (`NO_TIME` if none), wall ms sent, offset, index inside the record, 1 on the last row of a record,
        `RowKind`, and what the merge fills in: order key, number of the partition, watermark after the row.
    objects : (7, n) objects
        User, item and action of interactions, context, payload (the id of the impression that an interaction names, or
        the event, id, bytes or `DeadLetter` of other rows), the `Records` it came with, and the event id of an
        engagement that has one. Impressions have their user too.
    value : (n,) float32
        NaN where the event had none.
    """

    numbers: NDArray[np.int64]
    objects: NDArray[np.object_]
    value: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.value)

    def column(self, name: int) -> NDArray[np.int64]:
        """One column of `numbers`, as a view."""
        column: NDArray[np.int64] = self.numbers[name]
        return column

    def record(self, at: int) -> Record:
        """Record that a row came from."""
        records: Records = self.objects[RECORD, at]
        return records.at(int(self.numbers[OFFSET, at]))

    def __getitem__(self, at: slice | NDArray[np.intp] | NDArray[np.bool_]) -> Rows:
        return Rows(self.numbers[:, at], self.objects[:, at], self.value[at])


def no_rows() -> Rows:
    """Return rows of nothing."""
    return Rows(np.zeros((9, 0), np.int64), np.empty((7, 0), dtype=object), np.zeros(0, np.float32))


def new_rows(records: Records, kind: RowKind) -> Rows:
    """One row per record, with the record's own facts filled in and no event time."""
    n = len(records)
    numbers = np.zeros((9, n), np.int64)
    objects = np.full((7, n), None, dtype=object)
    numbers[OFFSET], numbers[SENT_AT] = records.offsets, np.clip(records.sent_at, NO_TIME, _LATEST)
    numbers[TS], numbers[LAST], numbers[KIND] = NO_TIME, 1, kind
    objects[RECORD].fill(records)
    return Rows(numbers, objects, np.full(n, np.nan, np.float32))


def concat(parts: Sequence[Rows]) -> Rows:
    """Put rows behind one another."""
    if len(parts) == 1:
        return parts[0]
    return Rows(
        np.concatenate([part.numbers for part in parts], axis=1),
        np.concatenate([part.objects for part in parts], axis=1),
        np.concatenate([part.value for part in parts]),
    )
