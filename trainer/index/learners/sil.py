"""SIL (separate index learning): periodic k-means over the item vectors; the baseline of HSNN and OneShot.

The levels' towers still learn which node a user's next item is in, without any gradient to the nodes.
"""

from __future__ import annotations

from typing import ClassVar

from hsnn.trainer.index.index_learner import IndexLearner


class Sil(IndexLearner):
    """SIL learner: nodes change only in refits, every ``trainer.index.kmeans_every`` events."""

    task_loss_moves_nodes: ClassVar[bool] = False
    differentiable_assignment: ClassVar[bool] = False
    refits_periodically: ClassVar[bool] = True


LEARNER = Sil
