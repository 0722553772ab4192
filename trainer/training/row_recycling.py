"""Rows that come and go: what a learner with limited id tables does when an id gives its row up.

**Users.** Only the trainer and the mirrors know their rows, and a mirror learns all of a row from the state stream, in
order: whose it is, together with the history and features that count from then on (`hsnn.trainer.messages.StateDelta`).
So a user's row is emptied when its user leaves, and may have another user at once.

**Items.** Their rows are in histories, versions of the index, the scheduler's catalogue, and messages that nobody has
read yet; nobody could tell which item an old one means. So an item that gives up its row is deleted for the rest of
the system (its feed entry says so), and the row stays empty for the rest of the **epoch**. Rows are given out again
only by a turn: every trace of the old items is wiped out here, and the caller begins a new epoch, with a new
snapshot. That is what a restart of the trainer does, too, and all readers know it: messages of another epoch are
ignored, the first version of an epoch replaces everything in a mirror, and a rollback to a version of an earlier
epoch is refused. Within an epoch a row never means two items, whatever is late, repeated or rolled back.

A turn costs every mirror a reload, and what arrives meanwhile waits for it; so there are at least
`trainer.ids.reuse_after` events between two, and there is none while there is nothing to gain: an eighth of the rows,
or rows for newcomers that may soon find none.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from hsnn.trainer.config.ids import IdsConfig
from hsnn.trainer.features.catalogue import Sign
from hsnn.trainer.ids.admission import Tenancy
from hsnn.trainer.rowstore.arrays import Array, select_prefix
from hsnn.trainer.rowstore.byte_strings import texts_in
from hsnn.trainer.training.row_wiping import wipe

if TYPE_CHECKING:
    from hsnn.trainer.training.learner import Learner

_WORTH_A_TURN = 8


class Lodging:
    """The tenancies of a learner's two id tables.

    Attributes
    ----------
    turns : int
        How often rows of items were given out again; after each the caller begins a new epoch.
    """

    def __init__(self, learner: Learner, config: IdsConfig) -> None:
        self._learner, self._config = learner, config
        self.turns = self._turned = 0
        self._departed: list[int] = []
        self.items = Tenancy("items", learner.items.table, config.items, config.candidates, self._retire, learner.alive)
        self.users = Tenancy("users", learner.users.table, config.users, config.candidates, self._forget)
        learner.items.tenancy, learner.users.tenancy = self.items, self.users

    def begin(self, now: int) -> None:
        """Begin a batch at event time `now`: reuse rows if that is due, and let ids go whose time is over."""
        if self._due():
            self.turns, self._turned = self.turns + 1, self._learner.events
            wipe(self._learner, self.items.reuse())
        self.items.begin(now)
        self.users.begin(now)
        self.items.show()
        self.users.show()

    def departures(self, now: int) -> dict[int, Sign]:
        """Signs for the feed: the items that gave up their rows since the last call are deleted."""
        signs = {row: Sign(now, 0) for row in self._departed}
        self._departed.clear()
        return signs

    def state(self) -> dict[str, Array]:
        """Everything as arrays."""
        parts = {"items": self.items.state(), "users": self.users.state()}
        own = {f"{name}.{field}": array for name, part in parts.items() for field, array in part.items()}
        return own | {"turns": np.array([self.turns, self._turned], np.int64)}

    def restore(self, arrays: dict[str, Array]) -> None:
        """Take over what `state` returned; the tables have their ids already."""
        self.items.restore(select_prefix(arrays, "items."))
        self.users.restore(select_prefix(arrays, "users."))
        self.turns, self._turned = arrays["turns"].tolist()

    def take_in(self, now: int) -> None:
        """Take over tables that were not limited so far: all their ids count as seen at event time `now`."""
        self.items.take_in(now)
        self.users.take_in(now)

    def _due(self) -> bool:
        left = len(self.items.left)
        if not left or self._learner.events - self._turned < self._config.reuse_after:
            return False
        return self.items.short or _WORTH_A_TURN * left >= len(self._learner.items)

    def _retire(self, rows: NDArray[np.int64]) -> None:
        """Items give up their rows: they are deleted from now on."""
        self._learner.items.delete(rows)
        for row in rows.tolist():
            self._learner.leaves.remove(row)
        self._departed += rows.tolist()

    def _forget(self, rows: NDArray[np.int64]) -> None:
        """Users give up their rows: nothing is left of them, and the rows may be given again."""
        self._learner.forget_users(rows)
        self._learner.users.named.add(rows)
        self.users.reuse()


def restore_ids(learner: Learner, arrays: Mapping[str, Array], watermark: int) -> None:
    """Give a fresh learner the ids of a checkpoint and their lodging; `watermark` is the checkpoint's, epoch ms.

    Limits may come and go between two runs. Where there are new ones, all ids count as seen just now; where there are
    none any more, the rows that were given up must still be known.
    """
    saved = select_prefix(arrays, "lodging.")
    if saved and learner.lodging is None:
        learner.lodging = Lodging(learner, learner.config.ids)
    for part, table in (("items", learner.items.table), ("users", learner.users.table)):
        texts = texts_in(arrays, f"{part}.ids.texts")
        starts = np.cumsum(texts.lengths, dtype=np.int64) - texts.lengths
        columns: dict[str, Array] = {"bytes": texts.bytes, "starts": starts, "lengths": texts.lengths.astype(np.uint16)}
        table.restore(columns, vacant(saved, part))
    if learner.lodging is None:
        return
    if saved:
        learner.lodging.restore(saved)
    else:
        learner.lodging.take_in(watermark)


def vacant(saved: Mapping[str, Array], part: str) -> NDArray[np.int64]:
    """Rows that no id has, of ``items`` or ``users``, in what `Lodging.state` returned; none where it is empty."""
    kinds = [saved[f"{part}.{kind}"] for kind in ("free", "left")] if saved else []
    return np.concatenate([*kinds, np.zeros(0, np.int64)])
