"""The write barrier: a listener is called before rows of a table are written, so that it can copy them first."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.integer] | Sequence[int] | int | slice
"""Rows of a table: several, one, or ``slice(None)`` for all."""


class WriteBarrier:
    """Calls one listener before rows are written; without a listener it does nothing.

    Rows that never existed need not be announced, nor the room that is made for them.

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
        """Call `listener` from now on, instead of the one before."""
        self._listener = listener

    def before_write(self, rows: Rows) -> None:
        """Announce that `rows` are about to be written; they still hold their old values."""
        if self._listener is not None:
            self._listener(rows)
