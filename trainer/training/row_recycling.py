"""Row recycling: what happens to the rows of ids that leave, where the id tables are limited.

**Users.** Only the trainer and the mirrors know their rows, and a mirror learns all of a row from the state stream, in
order: whose it is, together with the history and features that count from then on (`hsnn.trainer.messages.StateDelta`).
So a user's row is emptied when its user leaves, and may have another user at once.

**Items.** Their rows are in histories, versions of the index, the scheduler's catalogue, and messages that nobody has
read yet; nobody could tell which item an old one means. So an item that gives up its row is deleted for the rest of
the system (its feed entry says so), and the row stays empty for the rest of the **epoch**. Rows are given out again
only when rows are **recycled**: every trace of the old items is erased, and the caller begins a new epoch, with a new
snapshot. That is what a restart of the trainer does, too, and all readers know it: messages of another epoch are
ignored, the first version of an epoch replaces everything in a mirror, and a rollback to a version of an earlier
epoch is refused. Within an epoch a row never means two items, whatever is late, repeated or rolled back.

What an id that leaves was described as is remembered (`hsnn.trainer.ids.departed_records`, the latest
`trainer.ids.candidates` of each table), and given back to it when it comes back: it will not be described again.

Recycling costs every mirror a reload, and what arrives meanwhile waits for it; so there are at least
`trainer.ids.reuse_after` events between two times, and it waits until there is something to gain: an eighth of the
rows, or rows for new ids that may soon find none.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from hsnn.trainer.config.ids import IdsConfig
from hsnn.trainer.features.catalogue import EventTimes, ItemTable, UserTable
from hsnn.trainer.ids.admission import IdAdmission
from hsnn.trainer.ids.departed_records import DepartedRecords
from hsnn.trainer.rowstore.arrays import Array, select_prefix

_WORTH_RECYCLING = 8
"""Rows are recycled once a part of 1/8 of all has been given up: fewer are not worth a reload of every mirror."""

Rows = NDArray[np.int64]


class RowRecycler:
    """Id admission for a learner's two id tables, and what follows when ids leave.

    Parameters
    ----------
    items, users
        The catalogues whose ids are limited.
    config
        Limits of both.
    alive
        Returns which of some rows (n,) of items are alive.
    retire_items
        Called with rows (n,) of items that have left: they are deleted for all readers.
    recycle_items
        Called with rows (n,) that are to be reset before they are given to other items.
    forget_users
        Called with rows (n,) of users that have left.

    Attributes
    ----------
    recycled : int
        How often rows of items were given out again; after each the caller begins a new epoch.
    """

    def __init__(
        self,
        items: ItemTable,
        users: UserTable,
        config: IdsConfig,
        *,
        alive: Callable[[Rows], NDArray[np.bool_]],
        retire_items: Callable[[Rows], None],
        recycle_items: Callable[[Rows], None],
        forget_users: Callable[[Rows], None],
    ) -> None:
        self._config, self._users = config, users
        self._retire_items, self._recycle_items, self._forget_users = retire_items, recycle_items, forget_users
        self.recycled = self._recycled_at = self._arrived = 0
        self._retired: list[int] = []
        self.items = IdAdmission(
            "items", items.table, config.items, room=config.candidates, leave=self._items_left, alive=alive
        )
        self.users = IdAdmission("users", users.table, config.users, room=config.candidates, leave=self._users_left)
        items.admission, users.admission = self.items, self.users
        self._items = items
        items.departed, users.departed = DepartedRecords(config.candidates), DepartedRecords(config.candidates)

    def begin_batch(self, now: int, events: int) -> None:
        """Begin a batch of `events` at event time `now`: recycle rows if due, and expire ids.

        Events count whether or not they can be learned: where no item has a row any more, none is.
        """
        if self._is_due():
            self.recycled, self._recycled_at = self.recycled + 1, self._arrived
            self._recycle_items(self.items.release())
        self._arrived += events
        self.items.begin(now)
        self.users.begin(now)
        self.items.update_gauges()
        self.users.update_gauges()

    def drain_retired(self, now: int) -> dict[int, EventTimes]:
        """Return feed entries of the items that gave up their rows since the last call: they are deleted."""
        signs = {row: EventTimes(now, 0) for row in self._retired}
        self._retired.clear()
        return signs

    def state_dict(self) -> dict[str, Array]:
        """Return everything but the columns of the id admissions, as arrays."""
        parts = {"items": self.items.state_dict(), "users": self.users.state_dict()}
        arrays = {f"{name}.{column}": array for name, part in parts.items() for column, array in part.items()}
        for name, table in (("items", self._items), ("users", self._users)):
            records = {} if table.departed is None else table.departed.state_dict()
            arrays |= {f"departed.{name}.{column}": array for column, array in records.items()}
        return arrays | {"recycled": np.array([self.recycled, self._recycled_at, self._arrived], np.int64)}

    def load_state_dict(self, arrays: Mapping[str, Array]) -> None:
        """Continue from what `state_dict` returned; the tables have their ids already."""
        self.items.load_state_dict(select_prefix(arrays, "items."))
        self.users.load_state_dict(select_prefix(arrays, "users."))
        for name, table in (("items", self._items), ("users", self._users)):
            if table.departed is not None:
                table.departed.load_state_dict(select_prefix(arrays, f"departed.{name}."))
        self.recycled, self._recycled_at, *arrived = arrays["recycled"].tolist()
        self._arrived = arrived[0] if arrived else self._recycled_at  # older checkpoints count no arrivals

    def adopt(self, now: int) -> None:
        """Take over tables that were not limited so far: all their ids count as seen at event time `now`."""
        self.items.adopt(now)
        self.users.adopt(now)

    def _is_due(self) -> bool:
        left = len(self.items.left)
        if not left or self._arrived - self._recycled_at < self._config.reuse_after:
            return False
        return self.items.short or _WORTH_RECYCLING * left >= len(self.items.table)

    def _items_left(self, rows: Rows) -> None:
        self._items.remember(rows)
        self._retire_items(rows)
        self._retired += rows.tolist()

    def _users_left(self, rows: Rows) -> None:
        """Reset the rows at once; they may be given to other users in the same batch."""
        self._users.remember(rows)
        self._forget_users(rows)
        self._users.named.add(rows)
        self.users.release()


def vacant(saved: Mapping[str, Array], part: str) -> Rows:
    """Return the rows of ``items`` or ``users`` without an id, in a `RowRecycler.state_dict`; none if it is empty."""
    kinds = [saved[f"{part}.{kind}"] for kind in ("free", "left")] if saved else []
    return np.concatenate([*kinds, np.zeros(0, np.int64)])
