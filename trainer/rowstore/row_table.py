"""Protocols of a learner's parts: state as named arrays, and tables with a row per item or user."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from hsnn.trainer.rowstore.arrays import Array
from hsnn.trainer.rowstore.write_barrier import WriteBarrier


class Stateful(Protocol):
    """A part whose state, apart from what lies in columns by row, is a few named arrays."""

    def state_dict(self) -> dict[str, Array]:
        """Return the state by name; the arrays may be those in use."""

    def load_state_dict(self, arrays: Mapping[str, Array]) -> None:
        """Continue from copies of what `state_dict` returned."""


class Columns(Protocol):
    """Named arrays with a row each for the same things.

    Attributes
    ----------
    barrier : WriteBarrier
        Called before a row that exists is written to.
    """

    barrier: WriteBarrier

    def columns(self) -> dict[str, Array]:
        """Return the arrays in use by name, each with as many rows as there is room for."""

    def load_columns(self, columns: Mapping[str, Array]) -> None:
        """Continue from copies of columns, those of a checkpoint: as many rows as there were."""


class RowTable(Columns, Protocol):
    """A table by item row or user row."""

    def reserve(self, rows: int) -> None:
        """Make room for `rows` rows; new ones are as `clear` leaves them."""

    def clear(self, rows: NDArray[np.integer]) -> None:
        """Reset `rows` (n,) to the state of a row that never was used."""
