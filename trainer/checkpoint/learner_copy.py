"""A copy of the learner as it was at one moment, made while training goes on.

`begin` fixes the moment: what is small is copied at once. The rows of the large tables that changed since the moment
before are copied in slices between steps, and those that a step is about to write before it does
(`hsnn.trainer.rowstore.write_barrier`). So training waits for a few milliseconds at a time, whatever the tables' size.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from hsnn.trainer.rowstore.arrays import Array
from hsnn.trainer.rowstore.byte_strings import byte_string_arrays
from hsnn.trainer.rowstore.copy_on_write import TableCopy
from hsnn.trainer.training.state import LearnerState
from hsnn.trainer.training.state_dict import dense_arrays, plain_values


class LearnerCopy:
    """A copy of a learner; from now on every write to the learner's tables passes its write barrier.

    Parameters
    ----------
    learner
    known
        Whether the learner is in the state of a checkpoint: then only rows written from now on are `changed` at first.

    Attributes
    ----------
    values : dict of plain values
    tables : list of TableCopy
    spent : float
        Seconds that training has waited for copies since the reader last set it to 0.
    """

    def __init__(self, learner: LearnerState, *, known: bool = False) -> None:
        self.learner = learner
        self.tables = [TableCopy(table, self._timed, known=known) for table in learner.tables]
        self._dense_arrays: Callable[[], dict[str, Array]] = dict
        self.values: dict[str, Any] = {}
        self.spent = 0.0

    @property
    def complete(self) -> bool:
        """Whether the copy of the moment is complete."""
        return all(table.complete for table in self.tables)

    def begin(self) -> None:
        """Begin to copy the present moment; the copy before must be complete."""
        with self._timed():
            self._dense_arrays, self.values = dense_arrays(self.learner), plain_values(self.learner)
            for table in self.tables:
                table.begin()

    def advance(self, seconds: float) -> None:
        """Continue copying for about `seconds`."""
        with self._timed():
            end = time.perf_counter() + seconds
            for table in self.tables:
                while not table.complete:
                    table.advance()
                    if time.perf_counter() >= end:
                        return

    def dense_arrays(self) -> dict[str, Array]:
        """Return the arrays of the moment that are in no table."""
        return self._dense_arrays()

    def arrays(self) -> dict[str, Array]:
        """Return all arrays of the complete moment as views, named as in `hsnn.trainer.training.state_dict`."""
        arrays = self.dense_arrays()
        for table in self.tables:
            table.apply_saved()
            arrays |= {name: array[: table.rows] for name, array in table.arrays.items()}
            for name, texts in table.texts.items():
                arrays |= byte_string_arrays(name, texts.compacted())
        return arrays

    @contextmanager
    def _timed(self) -> Iterator[None]:
        started = time.perf_counter()
        try:
            yield
        finally:
            self.spent += time.perf_counter() - started
