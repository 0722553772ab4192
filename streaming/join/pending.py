"""A bounded table of rows that wait to be joined, linked per (user, item) by event time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from enum import IntEnum
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hsnn.streaming.schema.events import Scalar

# Slots of the first allocation; the table doubles when it is full.
_FIRST_SLOTS = 1024


class SlotStatus(IntEnum):
    """State of a slot: not in use, waiting to be joined, or kept to know that it was joined already."""

    FREE = 0
    OPEN = 1
    DONE = 2


class SavedRow(NamedTuple):
    """One row as a checkpoint holds it; the state of a table is one list per field, in this order."""

    ts: int
    task_bits: int
    impression: int
    partition: int
    status: int
    user: str
    item: str
    impression_id: str | None
    context: dict[str, Scalar] | None


class PendingTable:
    """Rows by slot; those of one user and item form a doubly linked list from the latest event time to the earliest.

    Attributes
    ----------
    ts : (slots,) int64
        Event time, epoch ms.
    task_bits : (slots,) int64
        Bit i is set if the row carries a label of task i.
    impression : (slots,) int64
        The joiner's number of the impression that showed the item.
    partition : (slots,) int64
        Partition of the topic that the row came from.
    status : (slots,) int64
        A `SlotStatus`.
    user, item : (slots,) texts
    impression_id : (slots,) text or None
    context : (slots,) mapping or None

    Examples
    --------
    >>> table = PendingTable()
    >>> columns = {"user": ["u", "u"], "item": ["a", "a"], "impression_id": ["s1", "s2"], "context": [None, None]}
    >>> table.add(np.array([10, 20]), task_bits=0, impression=0, partition=0, **columns).tolist()
    [0, 1]
    >>> table.find(["u"] * 3, ["a"] * 3, [None, None, "s1"], ts=np.array([15, 90, 90]), window=60)
    [0, -1, 0]
    """

    def __init__(self) -> None:
        self.ts = self.task_bits = self.impression = self.partition = self.status = np.zeros(0, np.int64)
        self.user = self.item = self.impression_id = self.context = np.empty(0, object)
        # Order of arrival, and the neighbours in the list of the row's user and item: slots, -1 at its ends.
        self._arrival = self._earlier = self._later = np.zeros(0, np.int64)
        self._free: list[int] = []
        self._latest: dict[tuple[str, str], int] = {}  # (user, item) -> slot of the latest row
        self._arrivals = 0

    def __len__(self) -> int:
        return len(self.ts) - len(self._free)

    def add(
        self,
        ts: NDArray[np.int64],
        *,
        task_bits: NDArray[np.int64] | int,
        impression: NDArray[np.int64] | int,
        partition: NDArray[np.int64] | int,
        user: Sequence[str],
        item: Sequence[str],
        impression_id: Sequence[str | None],
        context: Sequence[dict[str, Scalar] | None],
    ) -> NDArray[np.int64]:
        """Add n open rows in order of arrival and return their slots, (n,)."""
        n = len(ts)
        slots = self._allocate(n)
        self.ts[slots], self.task_bits[slots], self.impression[slots] = ts, task_bits, impression
        self.partition[slots], self.status[slots] = partition, SlotStatus.OPEN
        self._earlier[slots], self._later[slots] = -1, -1
        self._arrival[slots] = np.arange(self._arrivals, self._arrivals + n)
        self._arrivals += n
        self.user[slots], self.item[slots], self.impression_id[slots] = user, item, impression_id
        # `fromiter` keeps the mappings as objects; an assignment of the list would try to look into them.
        self.context[slots] = np.fromiter(context, dtype=object, count=n)
        latest = self._latest
        for pair, slot in zip(zip(user, item, strict=True), slots.tolist(), strict=True):
            if (head := latest.setdefault(pair, slot)) != slot:
                self._link(pair, slot, head)
        return slots

    def find(
        self,
        user: Iterable[str],
        item: Iterable[str],
        impression_id: Iterable[str | None],
        *,
        ts: NDArray[np.int64],
        window: int,
    ) -> list[int]:
        """Find the rows that n actions answer.

        An action that names an impression answers the row of that impression, any other one the latest row of its user
        and item that is at most `window` ms older than itself.

        Returns
        -------
        slots : n ints
            -1 where there is no such row.
        """
        latest = self._latest
        slots = [latest.get(pair, -1) for pair in zip(user, item, strict=True)]
        for i, (slot, name, time) in enumerate(zip(slots, impression_id, ts.tolist(), strict=True)):
            if slot >= 0:
                slots[i] = self._find_latest(slot, time, window) if name is None else self._find_named(slot, name)
        return slots

    def find_all(self, user: Iterable[str], item: Iterable[str]) -> list[int]:
        """Return the slots of all rows of n (user, item) pairs, each slot once."""
        slots: dict[int, None] = {}
        for pair in zip(user, item, strict=True):
            slot = self._latest.get(pair, -1)
            while slot >= 0 and slot not in slots:
                slots[slot] = None
                slot = int(self._earlier[slot])
        return list(slots)

    def remove(self, slots: NDArray[np.int64]) -> None:
        """Remove rows and free their slots."""
        if not len(slots):
            return
        # Most rows are alone in their list: those need no relinking.
        alone = (self._earlier[slots] < 0) & (self._later[slots] < 0)
        for pair in self._pairs(slots[alone]):
            del self._latest[pair]
        for pair, slot in zip(self._pairs(slots[~alone]), slots[~alone].tolist(), strict=True):
            self._unlink(pair, slot)
        self.status[slots] = SlotStatus.FREE
        for column in (self.user, self.item, self.impression_id, self.context):
            column[slots] = None
        self._free += slots[::-1].tolist()

    def with_status(self, status: SlotStatus) -> NDArray[np.int64]:
        """Return the slots of the rows with a status, in order of arrival."""
        slots = np.flatnonzero(self.status == status)
        return slots[np.argsort(self._arrival[slots], kind="stable")]

    def deferred_state(self) -> Callable[[], list[list[Any]]]:
        """Copy all rows in order of arrival; the returned function turns the copy into lists, see `SavedRow`."""
        slots = np.flatnonzero(self.status != SlotStatus.FREE)
        slots = slots[np.argsort(self._arrival[slots])]
        numbers = self.ts, self.task_bits, self.impression, self.partition, self.status
        objects = self.user, self.item, self.impression_id, self.context
        copies = [column[slots] for column in (*numbers, *objects)]
        return lambda: [column.tolist() for column in copies]

    @classmethod
    def from_state(cls, state: Sequence[Sequence[Any]]) -> PendingTable:
        """Restore a table from what the function returned by `deferred_state` gave."""
        table = cls()
        *numbers, user, item, impression_id, context = state
        ts, task_bits, impression, partition, status = (np.array(column, np.int64) for column in numbers)
        slots = table.add(
            ts,
            task_bits=task_bits,
            impression=impression,
            partition=partition,
            user=user,
            item=item,
            impression_id=impression_id,
            context=context,
        )
        table.status[slots] = status
        return table

    def _allocate(self, n: int) -> NDArray[np.int64]:
        if n > len(self._free):
            old = len(self.ts)
            new = max(2 * old, old + n, _FIRST_SLOTS)
            self._grow(new - old)
            self._free = [*range(new - 1, old - 1, -1), *self._free]
        slots = np.array(self._free[len(self._free) - n :][::-1], np.int64)
        del self._free[len(self._free) - n :]
        return slots

    def _grow(self, added: int) -> None:
        numbers, objects = np.zeros(added, np.int64), np.full(added, None, object)
        self.ts = np.concatenate((self.ts, numbers))
        self.task_bits = np.concatenate((self.task_bits, numbers))
        self.impression = np.concatenate((self.impression, numbers))
        self.partition = np.concatenate((self.partition, numbers))
        self.status = np.concatenate((self.status, numbers))
        self._arrival = np.concatenate((self._arrival, numbers))
        self._earlier = np.concatenate((self._earlier, numbers))
        self._later = np.concatenate((self._later, numbers))
        self.user = np.concatenate((self.user, objects))
        self.item = np.concatenate((self.item, objects))
        self.impression_id = np.concatenate((self.impression_id, objects))
        self.context = np.concatenate((self.context, objects))

    def _pairs(self, slots: NDArray[np.int64]) -> Iterable[tuple[str, str]]:
        return zip(self.user[slots].tolist(), self.item[slots].tolist(), strict=True)

    def _link(self, pair: tuple[str, str], slot: int, head: int) -> None:
        """Insert a row into the list of its user and item, before the rows of the same time."""
        later, earlier = -1, head
        while earlier >= 0 and self.ts[earlier] > self.ts[slot]:
            later, earlier = earlier, int(self._earlier[earlier])
        self._earlier[slot], self._later[slot] = earlier, later
        if earlier >= 0:
            self._later[earlier] = slot
        if later >= 0:
            self._earlier[later] = slot
        else:
            self._latest[pair] = slot

    def _unlink(self, pair: tuple[str, str], slot: int) -> None:
        earlier, later = int(self._earlier[slot]), int(self._later[slot])
        if earlier >= 0:
            self._later[earlier] = later
        if later >= 0:
            self._earlier[later] = earlier
        elif earlier >= 0:
            self._latest[pair] = earlier
        else:
            del self._latest[pair]

    def _find_latest(self, slot: int, time: int, window: int) -> int:
        while slot >= 0 and self.ts[slot] > time:
            slot = int(self._earlier[slot])
        return slot if slot >= 0 and time - self.ts[slot] <= window else -1

    def _find_named(self, slot: int, impression_id: str) -> int:
        while slot >= 0 and self.impression_id[slot] != impression_id:
            slot = int(self._earlier[slot])
        return slot
