"""A table of arrays and texts with a row each for the same things, as checkpoints copy and write it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hsnn.trainer.rowstore.arrays import Array
from hsnn.trainer.rowstore.byte_strings import Packed
from hsnn.trainer.rowstore.write_barrier import WriteBarrier

Texts = Callable[[NDArray[np.integer]], Packed]
"""Texts of rows (n,), as bytes."""


class Table(NamedTuple):
    """Arrays that have a row each for the same things.

    Attributes
    ----------
    name
        Of the part of the learner; the names of its arrays in a checkpoint begin with it.
    columns
        The arrays as they are now, by name; the things' rows are the first ones of them.
    texts
        Texts by row, by name.
    things
        How many of them there are now.
    changes
        What is asked before a row changes.
    """

    name: str
    columns: Mapping[str, Callable[[], Array]]
    texts: Mapping[str, Texts]
    things: Callable[[], int]
    barrier: WriteBarrier

    def rows(self) -> int:
        """Rows that there are now: of a part that is not in use, none."""
        return min(self.things(), self.room())

    def room(self) -> int:
        """Rows that the arrays have room for now."""
        return min((len(column()) for column in self.columns.values()), default=self.things())
