"""User histories: the last items of every user, newest last."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from hsnn.trainer.compiled import compiled_in_order
from hsnn.trainer.rowstore.arrays import Array, gather_rows, grown
from hsnn.trainer.rowstore.write_barrier import WriteBarrier


class UserHistories:
    """The last `length` items of each user, by row.

    Attributes
    ----------
    items : (rows, L) int32
        Item rows, newest last, -1 padded in front.
    times : (rows, L) int64
        Event times, epoch ms.
    barrier : WriteBarrier

    Examples
    --------
    >>> histories = UserHistories(length=2)
    >>> before = histories.extend(np.array([0, 0, 0]), np.array([7, 8, 9]), np.array([1, 2, 3]))
    >>> before[0].tolist(), histories.items[0].tolist()
    ([[-1, -1], [-1, 7], [7, 8]], [8, 9])
    """

    def __init__(self, length: int, rows: int = 1024) -> None:
        self.items: NDArray[np.int32] = np.full((rows, length), -1, np.int32)
        self.times: NDArray[np.int64] = np.zeros((rows, length), np.int64)
        self.barrier = WriteBarrier()

    def reserve(self, rows: int) -> None:
        """Make room for `rows` rows."""
        self.items, self.times = grown(self.items, rows, -1), grown(self.times, rows)

    def columns(self) -> dict[str, Array]:
        """Return the arrays in use by name."""
        return {"items": self.items, "times": self.times}

    def load_columns(self, columns: Mapping[str, Array]) -> None:
        """Continue from copies of a checkpoint's columns."""
        self.items, self.times = columns["items"].copy(), columns["times"].copy()

    def extend(
        self, users: NDArray[np.integer], items: NDArray[np.integer], ts: NDArray[np.int64]
    ) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
        """Append events in order; return each event's history just before it: (n, L) items and times.

        The user -1 stands for users without a row: they have no history, and nothing is stored.
        """
        self.barrier.before_write(users[users >= 0])
        before_items = np.full((len(users), self.items.shape[1]), -1, np.int32)
        before_times = np.zeros((len(users), self.items.shape[1]), np.int64)
        _extend(self.items, self.times, users, items=items, ts=ts, before_items=before_items, before_times=before_times)
        return before_items, before_times

    def clear(self, rows: NDArray[np.integer]) -> None:
        """Reset the histories of `rows`."""
        self.barrier.before_write(rows)
        self.items[rows], self.times[rows] = -1, 0

    def gather(self, rows: NDArray[np.integer]) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
        """Copy the histories of rows (n,), empty ones for the row -1: items and times, both (n, L)."""
        known = rows[:, None] >= 0
        return np.where(known, gather_rows(self.items, rows), -1), np.where(known, gather_rows(self.times, rows), 0)

    def remove_items(self, gone: NDArray[np.bool_]) -> NDArray[np.int64]:
        """Remove items from all histories and return the rows that changed; `gone` is as in `removed_mask`."""
        rows = np.flatnonzero(removed_mask(self.items, gone).any(1))
        self.barrier.before_write(rows)
        self.items[rows], self.times[rows] = compact_histories(self.items[rows], self.times[rows], gone)
        return rows

    def set_rows(self, rows: NDArray[np.integer], items: NDArray[np.int32], times: NDArray[np.int64]) -> None:
        """Overwrite the histories of `rows` with published ones (the server's mirror)."""
        self.reserve(int(rows.max(initial=-1)) + 1)
        self.barrier.before_write(rows)
        self.items[rows], self.times[rows] = items, times


def removed_mask(items: NDArray[np.integer], gone: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Mark the item rows in `gone` (rows + 1,), which is by row; its last entry, False, is read by -1 for none."""
    removed: NDArray[np.bool_] = gone[items]
    return removed


def compact_histories(
    items: NDArray[np.int32], times: NDArray[np.int64], gone: NDArray[np.bool_]
) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Remove items from histories (n, L) and move the rest to the end; `gone` is as in `removed_mask`.

    Examples
    --------
    >>> items, times = np.array([[-1, 0, 1, 2]], np.int32), np.array([[0, 5, 6, 7]])
    >>> compact_histories(items, times, np.array([False, True, False, False]))[0].tolist()
    [[-1, -1, 0, 2]]
    """
    out = removed_mask(items, gone) | (items < 0)
    items, times = np.where(out, -1, items), np.where(out, 0, times)
    order = np.argsort(~out, axis=1, kind="stable")  # stable: padding first, the rest in its order
    return np.take_along_axis(items, order, 1), np.take_along_axis(times, order, 1)


@compiled_in_order
def _extend(
    all_items: NDArray[np.int32],
    all_times: NDArray[np.int64],
    users: NDArray[np.integer],
    items: NDArray[np.integer],
    ts: NDArray[np.int64],
    before_items: NDArray[np.int32],
    before_times: NDArray[np.int64],
) -> None:
    """Append n events to the histories of all users, and copy each event's history just before it, (n, L)."""
    for event, user in enumerate(users):
        if user >= 0:
            before_items[event], before_times[event] = all_items[user], all_times[user]
            all_items[user, :-1], all_times[user, :-1] = before_items[event, 1:], before_times[event, 1:]
            all_items[user, -1], all_times[user, -1] = items[event], ts[event]
