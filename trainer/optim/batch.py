"""Labelled items: the training data of the tasks in a gradient step."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from hsnn.trainer.features.queries import QueryArrays


@dataclass(frozen=True, slots=True)
class LabelledItems:
    """Pairs of a query and an item shown for it, with the labels of A tasks: J pairs.

    Attributes
    ----------
    queries : QueryArrays
        Of the users at the times of the impressions.
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
        """Return a slice of the pairs."""
        return replace(
            self,
            queries=self.queries.select(cut),
            items=self.items[cut],
            labels=self.labels[cut],
            states=self.states[cut],
            cross=None if self.cross is None else self.cross[cut],
        )
