"""AliveRows: which rows are alive by some clocks, kept up to date at a cost in proportion to what changes."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from hsnn.trainer.rowstore.arrays import grown
from hsnn.trainer.rowstore.dirty_rows import DirtyRows

Times = Callable[[NDArray[np.int64] | slice], NDArray[np.int64]]
"""Return the times (3, n) of rows (n,) by the clocks of `AliveRows`, epoch ms."""

# Rows that are examined together when a clock passes a time of one of them: microseconds, and there are few blocks.
_BLOCK = 4096

# Bounds of a block without times on one side of a clock, or whose rows nobody has examined yet, ms.
_FIRST, _LAST = np.iinfo(np.int64).min, np.iinfo(np.int64).max


class AliveRows:
    """Rows that are alive: two clocks have not reached their ends, and a third one has reached their beginning.

    Of every block of rows and every clock the last time that it has passed and the next one are kept: while all clocks
    stay between those, nobody in the block begins or ends. Clocks may be set back.

    Parameters
    ----------
    times
        Returns two ends and the beginning of each row, now.

    Attributes
    ----------
    mask : (at least rows,) bool
        As of the last `advance`; read-only.

    Examples
    --------
    >>> ends, begins = np.array([50, 90, 90]), np.array([0, 0, 80])
    >>> alive = AliveRows(lambda rows: np.stack([ends[rows], ends[rows], begins[rows]]))
    >>> for now in (10, 50, 80, 10):
    ...     alive.advance((now, now, now), rows=3)
    ...     print(alive.mask.tolist(), alive.drain().tolist())
    [True, True, False] [0, 1]
    [False, True, False] [0]
    [False, True, True] [2]
    [True, True, False] [0, 2]
    """

    def __init__(self, times: Times) -> None:
        self._times = times
        self.mask: NDArray[np.bool_] = np.zeros(0, np.bool_)
        # (blocks, 3): by clock, the largest of a block's times that it has reached, and the smallest that it has not.
        self._passed: NDArray[np.int64] = np.zeros((0, 3), np.int64)
        self._next: NDArray[np.int64] = np.zeros((0, 3), np.int64)
        self._written, self._changed = DirtyRows(), DirtyRows()

    def note_written(self, rows: NDArray[np.integer] | list[int]) -> None:
        """Note that the times of `rows` (n,) may be others, or are new."""
        self._written.add(rows)

    def drain(self) -> NDArray[np.int64]:
        """Return the rows that were written, began or ended before the last `advance`, once each, and forget them."""
        return self._changed.drain()

    def advance(self, clocks: tuple[int, int, int], rows: int) -> None:
        """Follow the clocks, epoch ms, and what was written; there are `rows` rows."""
        now, blocks = np.array(clocks, np.int64), -(-rows // _BLOCK)
        self.mask = grown(self.mask, rows)
        self._passed, self._next = grown(self._passed, blocks, _LAST), grown(self._next, blocks, _FIRST)
        written = self._written.drain()
        if len(written):
            passed, following = self._examine(written, now)
            np.maximum.at(self._passed, written // _BLOCK, passed.T)
            np.minimum.at(self._next, written // _BLOCK, following.T)
            self._changed.add(written)
        due = (self._passed[:blocks] > now) | (self._next[:blocks] <= now)  # (blocks, 3)
        for block in np.flatnonzero(due.any(1)).tolist():
            part = slice(block * _BLOCK, min((block + 1) * _BLOCK, rows))
            before = self.mask[part].copy()
            passed, following = self._examine(part, now)
            self._passed[block], self._next[block] = passed.max(1), following.min(1)
            self._changed.add(part.start + np.flatnonzero(before != self.mask[part]))

    def _examine(
        self, rows: NDArray[np.int64] | slice, now: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Set `mask` of `rows` (n,); return their times (3, n) where a clock has passed them, and where it has not."""
        times = self._times(rows)
        reached = times <= now[:, None]
        self.mask[rows] = ~reached[0] & ~reached[1] & reached[2]
        return np.where(reached, times, _FIRST), np.where(reached, _LAST, times)
