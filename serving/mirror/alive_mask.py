"""Which rows may be returned, kept up to date in proportion to what changes and never by a look at all of them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hsnn.trainer.features.expiry import NEVER
from hsnn.trainer.rowstore.arrays import gather_rows, grown

_BLOCK = 4096
"""Rows that are looked at again together when one of them dies."""


class AliveMask:
    """Rows that are in a node and not dead at the watermark.

    Attributes
    ----------
    mask : (rows,) bool
        Not to be written to.
    count : int
        How many rows that are.

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

    def __init__(self, nodes: NDArray[np.int32], dead_at: NDArray[np.int64], watermark: int) -> None:
        rows = len(nodes)
        self.mask: NDArray[np.bool_] = (nodes >= 0) & (dead_at[:rows] > watermark)
        self.count = int(np.count_nonzero(self.mask))
        ends = np.where(self.mask, dead_at[:rows], NEVER)
        self._next_expiry = np.minimum.reduceat(ends, np.arange(0, rows, _BLOCK))  # (blocks,): the next death in each
        self._scratch = self.mask.copy()
        self._cleared: NDArray[np.int64] = np.zeros(0, np.int64)

    def without(self, rows: NDArray[np.integer]) -> tuple[NDArray[np.bool_], int]:
        """`mask` without unique `rows` (n,), unknown ones ignored, and how many rows that leaves.

        The mask holds until the next call: a copy for each request costs the more, the more rows there ever were.
        """
        self._scratch[self._cleared] = self.mask[self._cleared]
        self._cleared = rows[(rows >= 0) & (rows < len(self.mask))].astype(np.int64)
        self._scratch[self._cleared] = False
        return self._scratch, self.count - int(np.count_nonzero(self.mask[self._cleared]))

    def update(
        self, rows: NDArray[np.int64], nodes: NDArray[np.int32], dead_at: NDArray[np.int64], watermark: int
    ) -> None:
        """Look again at unique `rows` (n,), by the nodes (rows,) and the times of death (rows,) of all."""
        self.mask, self._scratch = grown(self.mask, len(nodes)), grown(self._scratch, len(nodes))
        self._next_expiry = grown(self._next_expiry, -(-len(self.mask) // _BLOCK), NEVER)
        alive = (gather_rows(nodes, rows) >= 0) & (gather_rows(dead_at, rows) > watermark)
        self.count += int(np.count_nonzero(alive)) - int(np.count_nonzero(self.mask[rows]))
        self.mask[rows] = self._scratch[rows] = alive
        np.minimum.at(self._next_expiry, rows[alive] // _BLOCK, dead_at[rows[alive]])

    def advance(self, watermark: int, dead_at: NDArray[np.int64]) -> None:
        """Let those die whose time has come, by the times of death (rows,) of all."""
        for block in np.flatnonzero(self._next_expiry <= watermark).tolist():
            part = slice(block * _BLOCK, min((block + 1) * _BLOCK, len(self.mask)))
            alive = self.mask[part] & (dead_at[part] > watermark)
            self.count -= int(np.count_nonzero(self.mask[part])) - int(np.count_nonzero(alive))
            self.mask[part] = self._scratch[part] = alive
            self._next_expiry[block] = dead_at[part][alive].min(initial=NEVER)
