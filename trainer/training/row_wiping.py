"""Wiping rows of items: after it nothing in the learner can tell that an item was ever there."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from hsnn.trainer.training.learner import Learner

Mask = NDArray[np.bool_]


def wipe(learner: Learner, rows: NDArray[np.int64]) -> None:
    """Make `rows` (n,) of items that left as new: weights, optimiser, states, and what names them elsewhere."""
    gone = np.zeros(len(learner.items) + 1, np.bool_)  # the last one stands for row -1
    gone[rows] = True
    _own(learner, rows)
    changed = learner.histories.without(gone)
    learner.replay.forget_items(gone)
    learner.lagged.forget(gone)
    near = learner.covisitation.forget(gone) if learner.config.model.cross else rows
    learner.note_touched(items=np.r_[rows, near], users=changed)


def _own(learner: Learner, rows: NDArray[np.int64]) -> None:
    """Reset what lies in the rows themselves."""
    learner.states.clear(rows)
    learner.frequency.clear(rows)
    learner.network.items.ids.clear(rows)
    learner.leaves.forget(rows)
    learner.items.clear(rows)
