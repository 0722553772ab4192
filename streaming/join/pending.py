"""Rows that wait for others of the same user and item: a bounded table with a chain per (user, item)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hsnn.streaming.schema.events import Scalar

FREE, OPEN, DONE = range(3)
"""What a row is: not in use, waiting, or kept to know that it waited."""

TS, MASK, GROUP, PARTITION, STATUS, ORDER, OLDER, NEWER = range(8)
USER, ITEM, NAME, CONTEXT = range(4)
_NUMBERS, _OBJECTS = 8, 4
_SAVED = slice(TS, STATUS + 1)


class PendingTable:
    """Rows by slot; those of one user and item are linked from the latest event time to the earliest.

    Attributes
    ----------
    numbers : (8, slots) int64
        Event time, bits of tasks, number of the impression, partition it came from, status, order of arrival, next
        earlier and later slot of the chain (-1: none).
    objects : (4, slots) objects
        User, item, id of the impression or None, context or None.

    Examples
    --------
    >>> rows = Waiting()
    >>> rows.enter(np.array([10, 20]), 0, 0, 0, ["u", "u"], ["a", "a"], ["s1", "s2"], [None, None]).tolist()
    [0, 1]
    >>> rows.find(["u", "u", "u"], ["a", "a", "a"], [None, None, "s1"], np.array([15, 90, 90]), 60)
    [0, -1, 0]
    """

    def __init__(self) -> None:
        self.numbers: NDArray[np.int64] = np.zeros((_NUMBERS, 0), np.int64)
        self.objects: NDArray[np.object_] = np.full((_OBJECTS, 0), None, object)
        self._free: list[int] = []
        self._heads: dict[tuple[str, str], int] = {}
        self._arrived = 0

    def __len__(self) -> int:
        return int(self.numbers.shape[1]) - len(self._free)

    def add(
        self,
        ts: NDArray[np.int64],
        mask: NDArray[np.int64] | int,
        group: NDArray[np.int64] | int,
        partition: NDArray[np.int64] | int,
        user: Sequence[str],
        item: Sequence[str],
        name: Sequence[str | None],
        context: Sequence[dict[str, Scalar] | None],
    ) -> NDArray[np.int64]:
        """Add n rows in order of arrival, open; return their slots (n,)."""
        n = len(ts)
        slots = self._take(n)
        numbers, objects = self.numbers, self.objects
        numbers[TS, slots], numbers[MASK, slots], numbers[GROUP, slots] = ts, mask, group
        numbers[PARTITION, slots] = partition
        numbers[STATUS, slots], numbers[OLDER, slots], numbers[NEWER, slots] = OPEN, -1, -1
        numbers[ORDER, slots] = np.arange(self._arrived, self._arrived + n)
        self._arrived += n
        objects[USER, slots], objects[ITEM, slots], objects[NAME, slots] = user, item, name
        objects[CONTEXT, slots] = np.fromiter(context, dtype=object, count=n)
        heads = self._heads
        for pair, slot in zip(zip(user, item, strict=True), slots.tolist(), strict=True):
            if (head := heads.setdefault(pair, slot)) != slot:
                self._link(pair, slot, head)
        return slots

    def find(
        self,
        user: Iterable[str],
        item: Iterable[str],
        name: Iterable[str | None],
        ts: NDArray[np.int64],
        window: int,
    ) -> list[int]:
        """Slots of what n actions answer: the row of that name, else the latest within `window` ms before; -1: none."""
        heads = self._heads
        found = [heads.get(pair, -1) for pair in zip(user, item, strict=True)]
        for at, (slot, called, time) in enumerate(zip(found, name, ts.tolist(), strict=True)):
            if slot >= 0:
                found[at] = self._latest(slot, time, window) if called is None else self._named(slot, called)
        return found

    def find_all(self, user: Iterable[str], item: Iterable[str]) -> list[int]:
        """Slots of all rows of these users and items, each once."""
        found: dict[int, None] = {}
        for pair in zip(user, item, strict=True):
            slot = self._heads.get(pair, -1)
            while slot >= 0 and slot not in found:
                found[slot] = None
                slot = int(self.numbers[OLDER, slot])
        return list(found)

    def remove(self, slots: NDArray[np.int64]) -> None:
        """Remove rows."""
        if not len(slots):
            return
        alone = (self.numbers[OLDER, slots] < 0) & (self.numbers[NEWER, slots] < 0)
        for pair in self._pairs(slots[alone]):
            del self._heads[pair]
        for pair, slot in zip(self._pairs(slots[~alone]), slots[~alone].tolist(), strict=True):
            self._unlink(pair, slot)
        self.numbers[STATUS, slots] = FREE
        self.objects[:, slots] = None
        self._free += slots[::-1].tolist()

    def with_status(self, status: int) -> NDArray[np.int64]:
        """Slots of the rows of a status, in order of arrival."""
        slots = np.flatnonzero(self.numbers[STATUS] == status)
        return slots[np.argsort(self.numbers[ORDER, slots], kind="stable")]

    def capture_state(self) -> Callable[[], list[list[Any]]]:
        """Note all rows in order of arrival; called, they become plain values."""
        slots = np.flatnonzero(self.numbers[STATUS] != FREE)
        slots = slots[np.argsort(self.numbers[ORDER, slots])]
        numbers, objects = self.numbers[_SAVED, slots], self.objects[:, slots]
        return lambda: [*numbers.tolist(), *objects.tolist()]

    @classmethod
    def from_state(cls, state: Sequence[Sequence[Any]]) -> PendingTable:
        """Go on from what was `frozen`."""
        rows = cls()
        ts, mask, group, partition, status = np.array(state[_SAVED], np.int64).reshape(_SAVED.stop, -1)
        slots = rows.add(ts, mask, group, partition, *state[_SAVED.stop :])
        rows.numbers[STATUS, slots] = status
        return rows

    def _take(self, n: int) -> NDArray[np.int64]:
        if n > len(self._free):
            old = self.numbers.shape[1]
            new = max(2 * old, old + n, 1024)
            self.numbers = np.concatenate((self.numbers, np.zeros((_NUMBERS, new - old), np.int64)), axis=1)
            self.objects = np.concatenate((self.objects, np.full((_OBJECTS, new - old), None, object)), axis=1)
            self._free = [*range(new - 1, old - 1, -1), *self._free]
        taken = np.array(self._free[len(self._free) - n :][::-1], np.int64)
        del self._free[len(self._free) - n :]
        return taken

    def _pairs(self, slots: NDArray[np.int64]) -> Iterable[tuple[str, str]]:
        return zip(self.objects[USER, slots].tolist(), self.objects[ITEM, slots].tolist(), strict=True)

    def _link(self, pair: tuple[str, str], slot: int, head: int) -> None:
        """Put a row into its chain, before the rows of the same time."""
        numbers = self.numbers
        later, earlier = -1, head
        while earlier >= 0 and numbers[TS, earlier] > numbers[TS, slot]:
            later, earlier = earlier, int(numbers[OLDER, earlier])
        numbers[OLDER, slot], numbers[NEWER, slot] = earlier, later
        if earlier >= 0:
            numbers[NEWER, earlier] = slot
        if later >= 0:
            numbers[OLDER, later] = slot
        else:
            self._heads[pair] = slot

    def _unlink(self, pair: tuple[str, str], slot: int) -> None:
        earlier, later = self.numbers[OLDER : NEWER + 1, slot].tolist()
        if earlier >= 0:
            self.numbers[NEWER, earlier] = later
        if later >= 0:
            self.numbers[OLDER, later] = earlier
        elif earlier >= 0:
            self._heads[pair] = earlier
        else:
            del self._heads[pair]

    def _latest(self, slot: int, time: int, window: int) -> int:
        while slot >= 0 and self.numbers[TS, slot] > time:
            slot = int(self.numbers[OLDER, slot])
        return slot if slot >= 0 and time - self.numbers[TS, slot] <= window else -1

    def _named(self, slot: int, name: str) -> int:
        while slot >= 0 and self.objects[NAME, slot] != name:
            slot = int(self.numbers[OLDER, slot])
        return slot
