"""A copy of the learner as it was at one moment, made while training goes on.

`begin` fixes the moment: what is small is copied at once. The rows of the large tables that changed since the moment
before are copied in slices between steps, and those that a step is about to change before it does
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
    """The copy; it hears of every change of the learner's tables from now on.

    Parameters
    ----------
    learner
    known
        Whether the learner is in the state of a checkpoint: then only what changes from now on is `changed` at first.

    Attributes
    ----------
    values : dict of plain values
    tables : list of TableCopy
    spent : float
        Seconds that training has waited for copies; whoever reads it may set it to 0.
    """

    def __init__(self, learner: LearnerState, *, known: bool = False) -> None:
        self.learner = learner
        self.tables = [TableCopy(table, self._timed, known=known) for table in learner.tables]
        self._small: Callable[[], dict[str, Array]] = dict
        self.values: dict[str, Any] = {}
        self.spent = 0.0

    @property
    def complete(self) -> bool:
        """Whether all of the moment is copied."""
        return all(table.complete for table in self.tables)

    def begin(self) -> None:
        """Copy the moment that is now; the copy of the moment before is over."""
        with self._timed():
            self._small, self.values = dense_arrays(self.learner), plain_values(self.learner)
            for table in self.tables:
                table.begin()

    def advance(self, seconds: float) -> None:
        """Go on copying for about so long."""
        with self._timed():
            end = time.perf_counter() + seconds
            for table in self.tables:
                while not table.complete:
                    table.advance()
                    if time.perf_counter() >= end:
                        return

    def small(self) -> dict[str, Array]:
        """Arrays of the moment that are no tables."""
        return self._small()

    def arrays(self) -> dict[str, Array]:
        """All arrays of the moment, once it is complete, named as in `hsnn.trainer.training.state_dict`; views."""
        arrays = self.small()
        for table in self.tables:
            table.settle()
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
