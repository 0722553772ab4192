"""Id admission: which ids have a row of an id table, by frequency, expiry, cap and floor.

All times are event times, so the same stream gives the same rows. A table without limits has none.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hsnn.trainer.config.ids import IdLimits
from hsnn.trainer.ids.candidate_counter import CandidateCounter
from hsnn.trainer.metrics import ID_ROWS, IDS
from hsnn.trainer.rowstore.arrays import Array, grown
from hsnn.trainer.rowstore.id_table import IdTable
from hsnn.trainer.rowstore.write_barrier import WriteBarrier

Rows = NDArray[np.int64]

_RESERVE = 16
"""With a cap, 1/16 of the rows is kept free, or about to be, for new ids."""
_SCANS = 16
"""Scans of the table for expired ids per `expire_after`: an id lives at most 1/16 longer than that."""


class AdmittedRows(NamedTuple):
    """Rows of names (n,), -1 where there is none, and those of them that were assigned by this call (m,)."""

    rows: Rows
    given: Rows


class IdAdmission:
    """Assigns the rows of a table to ids, and takes them back.

    A row that is taken back is in `left`; it may be assigned to another id after `release`. Everything kept under it
    must be reset before.

    Parameters
    ----------
    name
        Of the table, for metrics.
    room
        Ids without a row whose counts are kept.
    leave
        Called with rows (n,) that are taken from their ids.
    alive
        Tells which of some rows (n,) are in use still, seen or not: they do not expire, and at the cap go last.

    Attributes
    ----------
    seen : (rows,) int64
        Event time of the last batch that named the row's id, epoch ms; -1 for a row without an id.
    free, left : lists of rows
        To be given to the next new ids, in this order; and not to be used before `release`.
    barrier : WriteBarrier
        Of `seen`.

    Examples
    --------
    >>> table = IdTable()
    >>> admission = IdAdmission("doc", table, IdLimits(admit_after=2, cap=2), 100, lambda rows: None)
    >>> admission.begin(1000)
    >>> admission.rows(["a", "b", "a"]).rows.tolist()
    [-1, -1, 0]
    """

    def __init__(
        self,
        name: str,
        table: IdTable,
        limits: IdLimits,
        room: int,
        leave: Callable[[Rows], None],
        alive: Callable[[Rows], NDArray[np.bool_]] | None = None,
    ) -> None:
        self.table, self._limits, self._name = table, limits, name
        self._leave, self._alive = leave, alive
        self._candidates = CandidateCounter(room)
        self.seen: Rows = np.full(1024, -1, np.int64)
        self.free: list[int] = []
        self.left: list[int] = []
        self._now = self._scanned = 0
        self._named: list[Rows] = []
        self.barrier = WriteBarrier()

    @property
    def available(self) -> int | None:
        """Rows that new ids can get now; None: any number."""
        return None if self._limits.cap is None else len(self.free) + max(self._limits.cap - len(self.table), 0)

    @property
    def short(self) -> bool:
        """Whether new ids may soon find no row."""
        available = self.available
        return available is not None and available <= self._reserve // 2

    def begin(self, now: int) -> None:
        """Begin a batch at event time `now`; expired ids give up their rows."""
        self._now = max(self._now, now)
        self._named.clear()
        if self._limits.expire_after is None:
            return
        idle_limit = int(self._limits.expire_after * 1000)
        if self._now - self._scanned >= idle_limit // _SCANS:
            self._scanned = self._now
            self._expire(self._now - idle_limit)

    def rows(self, names: Sequence[str], *, described: bool = False) -> AdmittedRows:
        """Return the rows of `names` (n,), admitting new ids where limits allow; `described` ones at first sight."""
        rows = self.table.find(names)
        known = rows[rows >= 0]
        self.seen = grown(self.seen, len(self.table), -1)
        self.barrier.before_write(known)
        self.seen[known] = self._now
        self._named.append(known)
        missing = np.flatnonzero(rows < 0)
        if not len(missing):
            return AdmittedRows(rows, missing)
        needed = 1 if described else self._limits.admit_after
        admissible = self._count_candidates([names[index] for index in missing.tolist()], needed)
        given = self._assign(list(dict.fromkeys(name for name in admissible if name)))
        rows[missing] = [given.get(name, -1) for name in admissible]
        IDS.labels(self._name, "refused").inc(sum(bool(name) and name not in given for name in admissible))
        return AdmittedRows(rows, np.fromiter(given.values(), np.int64, len(given)))

    def release(self) -> Rows:
        """Make the rows in `left` free for new ids; return them (n,)."""
        rows = np.array(self.left, np.int64)
        self.free += self.left
        self.left = []
        return rows

    def vacant(self) -> Rows:
        """Return the rows without an id, (n,)."""
        return np.array([*self.left, *self.free], np.int64)

    def adopt(self, now: int) -> None:
        """Take over a table that was not limited so far: all its ids count as seen at event time `now`."""
        self._now = now
        self.seen = grown(self.seen, len(self.table), -1)
        self.seen[: len(self.table)] = now

    def state_dict(self) -> dict[str, Array]:
        """Return everything but the table and the columns, as arrays."""
        return self._candidates.state_dict() | {
            "free": np.array(self.free, np.int64),
            "left": np.array(self.left, np.int64),
            "times": np.array([self._now, self._scanned], np.int64),
        }

    def load_state_dict(self, arrays: Mapping[str, Array]) -> None:
        """Continue from what `state_dict` returned; the table has its ids already."""
        self._candidates.load_state_dict(arrays)
        self.free, self.left = arrays["free"].tolist(), arrays["left"].tolist()
        self._now, self._scanned = arrays["times"].tolist()
        self.update_gauges()

    def columns(self) -> dict[str, Array]:
        """Return the arrays in use by name."""
        return {"seen": self.seen}

    def load_columns(self, columns: Mapping[str, Array]) -> None:
        """Continue from copies of a checkpoint's columns."""
        self.seen = grown(columns["seen"].copy(), 1024, -1)

    def update_gauges(self) -> None:
        """Set the metrics of rows by state."""
        for kind, count in (("held", self.table.id_count), ("free", len(self.free)), ("left", len(self.left))):
            ID_ROWS.labels(self._name, kind).set(count)

    @property
    def _reserve(self) -> int:
        return max((self._limits.cap or 0) // _RESERVE, 1)

    def _count_candidates(self, names: list[str], needed: int) -> list[str]:
        """Count names without a row; return those seen at least `needed` times, and empty texts for the others."""
        return [name if self._candidates.count(name) >= needed else "" for name in names]

    def _assign(self, new_ids: list[str]) -> dict[str, int]:
        """Assign rows to distinct new ids, the first ones first, as far as there are rows."""
        self._make_room(len(new_ids))
        wanted = len(new_ids) if self.available is None else min(len(new_ids), self.available)
        again = self.free[:wanted]
        del self.free[:wanted]
        size = len(self.table)
        rows = np.array([*again, *range(size, size + wanted - len(again))], np.int64)
        names = new_ids[:wanted]
        self.table.assign(rows, names)
        self.seen = grown(self.seen, len(self.table), -1)
        self.barrier.before_write(rows)
        self.seen[rows] = self._now
        self._named.append(rows)
        for name in names:
            self._candidates.drop(name)
        IDS.labels(self._name, "admitted").inc(wanted)
        IDS.labels(self._name, "reused").inc(len(again))
        return dict(zip(names, rows.tolist(), strict=True))

    def _make_room(self, new_ids: int) -> None:
        """Evict the longest unseen ids, if new ids find too few rows; not below the floor."""
        available = self.available
        if available is None or not new_ids:
            return
        ready = available + len(self.left)
        if ready < max(new_ids, self._reserve // 2 + 1):
            leaving = self._longest_unseen(max(new_ids, self._reserve) - ready)
            self._take_back(leaving, "evicted")

    def _expire(self, before: int) -> None:
        rows = np.flatnonzero((self.seen >= 0) & (self.seen <= before))
        if self._alive is not None:
            rows = rows[~self._alive(rows)]
        self._take_back(_least(rows, self.seen[rows], min(self._spare, len(rows))), "expired")

    @property
    def _spare(self) -> int:
        """Ids above the floor."""
        return max(self.table.id_count - self._limits.floor, 0)

    def _longest_unseen(self, count: int) -> Rows:
        """Choose at most `count` ids that this batch has not named, those whose rows are out of use first."""
        evictable = self.seen >= 0
        evictable[np.concatenate([*self._named, np.zeros(0, np.int64)])] = False
        rows = np.flatnonzero(evictable)
        count = min(count, self._spare)
        if self._alive is None:
            return _least(rows, self.seen[rows], min(count, len(rows)))
        alive = self._alive(rows)
        dead, living = rows[~alive], rows[alive]
        unused = _least(dead, self.seen[dead], min(count, len(dead)))
        used = _least(living, self.seen[living], min(count - len(unused), len(living)))
        return np.concatenate([unused, used])

    def _take_back(self, rows: Rows, why: str) -> None:
        if len(rows):
            self.table.remove(rows)
            self.barrier.before_write(rows)
            self.seen[rows] = -1
            self.left += rows.tolist()
            self._leave(rows)
            IDS.labels(self._name, why).inc(len(rows))


def _least(rows: Rows, seen: NDArray[np.int64], count: int) -> Rows:
    """Choose `count` of ascending `rows` (n,), those with the least `seen` (n,); of equal ones the lower rows."""
    if count <= 0 or count >= len(rows):
        return rows[: max(count, 0)]
    edge = int(np.partition(seen, count - 1)[count - 1])
    below = rows[seen < edge]
    chosen: Rows = np.sort(np.r_[below, rows[seen == edge][: count - len(below)]])
    return chosen
