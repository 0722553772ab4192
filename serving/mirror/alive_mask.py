"""Mask of the retrievable rows, updated in proportion to what changes, never by a scan of all rows."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from hsnn.trainer.features.expiry import NEVER
from hsnn.trainer.rowstore.arrays import gather_rows, grown

# Rows that are scanned together when one of them expires: such a scan takes microseconds, and there are few blocks.
_BLOCK = 4096


class AliveMask:
    """Rows that are in a node and available at the watermark.

    Attributes
    ----------
    mask : (rows,) bool
        Read-only.
    count : int
        Number of retrievable rows.

    Examples
    --------
    >>> alive = AliveMask(np.array([0, 1, -1]), np.array([NEVER, 50, NEVER]), watermark=10)
    >>> mask, count = alive.without(np.array([0]))
    >>> mask.tolist(), count, alive.mask.tolist(), alive.count
    ([False, True, False], 1, [True, True, False], 2)
    >>> alive.advance(50, np.array([NEVER, 50, NEVER]))
    >>> alive.mask.tolist(), alive.count
    ([True, False, False], 1)
    """

    def __init__(self, nodes: NDArray[np.int32], expiry: NDArray[np.int64], watermark: int) -> None:
        rows = len(nodes)
        self.mask: NDArray[np.bool_] = (nodes >= 0) & (expiry[:rows] > watermark)
        self.count = int(np.count_nonzero(self.mask))
        # The earliest expiry in each block tells which blocks to scan when the watermark advances.
        ends = np.where(self.mask, expiry[:rows], NEVER)
        self._next_expiry = np.minimum.reduceat(ends, np.arange(0, rows, _BLOCK))  # (blocks,)
        self._scratch: NDArray[np.bool_] | None = None
        self._cleared: NDArray[np.int64] = np.zeros(0, np.int64)

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_scratch": None}

    def without(self, rows: NDArray[np.integer]) -> tuple[NDArray[np.bool_], int]:
        """Return `mask` without unique `rows` (n,), of which unknown ones are ignored, and the number of rows left.

        The result is one reused buffer, valid until the next call: a copy per request would cost in proportion to all
        rows that ever existed.
        """
        if self._scratch is None:
            self._scratch = self.mask.copy()
        else:
            self._scratch[self._cleared] = self.mask[self._cleared]
        self._cleared = rows[(rows >= 0) & (rows < len(self.mask))].astype(np.int64)
        self._scratch[self._cleared] = False
        return self._scratch, self.count - int(np.count_nonzero(self.mask[self._cleared]))

    def update(
        self, rows: NDArray[np.int64], nodes: NDArray[np.int32], expiry: NDArray[np.int64], watermark: int
    ) -> None:
        """Recompute unique `rows` (n,) from the nodes (rows,) and the expiry times (rows,) of all rows."""
        self.mask, self._scratch = grown(self.mask, len(nodes)), None
        self._next_expiry = grown(self._next_expiry, -(-len(self.mask) // _BLOCK), NEVER)
        alive = (gather_rows(nodes, rows) >= 0) & (gather_rows(expiry, rows) > watermark)
        self.count += int(np.count_nonzero(alive)) - int(np.count_nonzero(self.mask[rows]))
        self.mask[rows] = alive
        np.minimum.at(self._next_expiry, rows[alive] // _BLOCK, expiry[rows[alive]])

    def advance(self, watermark: int, expiry: NDArray[np.int64]) -> None:
        """Remove the rows that have expired at `watermark`, given the expiry times (rows,) of all rows."""
        for block in np.flatnonzero(self._next_expiry <= watermark).tolist():
            part = slice(block * _BLOCK, min((block + 1) * _BLOCK, len(self.mask)))
            alive = self.mask[part] & (expiry[part] > watermark)
            self.count -= int(np.count_nonzero(self.mask[part])) - int(np.count_nonzero(alive))
            self.mask[part], self._scratch = alive, None
            self._next_expiry[block] = expiry[part][alive].min(initial=NEVER)
