"""Rows that are about to change: whoever keeps a copy of them hears of it first."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.integer] | Sequence[int] | int | slice
"""Rows of a table: some, one, or ``slice(None)`` for all."""


class WriteBarrier:
    """What a table with arrays by row says before it writes to them; without a listener nothing happens.

    Rows that never existed before need not be announced, nor room that is made for them.

    Examples
    --------
    >>> barrier, heard = WriteBarrier(), []
    >>> barrier.before_write([1, 2])
    >>> barrier.subscribe(heard.append)
    >>> barrier.before_write([3])
    >>> heard
    [[3]]
    """

    __slots__ = ("_listener",)

    def __init__(self) -> None:
        self._listener: Callable[[Rows], None] | None = None

    def subscribe(self, listener: Callable[[Rows], None]) -> None:
        """Let `listener` hear of all rows from now on, instead of the one before."""
        self._listener = listener

    def before_write(self, rows: Rows) -> None:
        """Announce that `rows` may change now; they still hold what they held."""
        if self._listener is not None:
            self._listener(rows)
