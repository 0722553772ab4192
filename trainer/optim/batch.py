"""What a gradient step learns tasks from: items that were shown, with their labels."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from hsnn.trainer.features.queries import QueryArrays


@dataclass(frozen=True, slots=True)
class LabelledItems:
    """Items that were shown to people, and what became of them: J pairs, A tasks.

    Attributes
    ----------
    queries : QueryArrays
        Of the moments when they were shown.
    items : (J,) int64
    labels : (J, A) float32
    task_weights : (A,) float32
    states : (J, F) float32
        State features of the items.
    cross : (J, C) float32 or None
    """

    queries: QueryArrays
    items: NDArray[np.int64]
    labels: NDArray[np.float32]
    task_weights: NDArray[np.float32]
    states: NDArray[np.float32]
    cross: NDArray[np.float32] | None = None

    def select(self, cut: slice) -> LabelledItems:
        """Take some of the pairs."""
        return replace(
            self,
            queries=self.queries.select(cut),
            items=self.items[cut],
            labels=self.labels[cut],
            states=self.states[cut],
            cross=None if self.cross is None else self.cross[cut],
        )
