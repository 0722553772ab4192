"""SIL, "separate index learning": k-means over the item vectors now and then; the baseline that HSNN and OneShot name.

The levels' towers still learn which node a user's next item is in; the nodes themselves feel nothing of it.
"""

from __future__ import annotations

from typing import ClassVar

from hsnn.trainer.index.learners.base import IndexLearner


class Sil(IndexLearner):
    """Not joint: the nodes are refitted every ``trainer.index.kmeans_every`` events."""

    task_loss_moves_nodes: ClassVar[bool] = False
    differentiable_assignment: ClassVar[bool] = False
    refits_periodically: ClassVar[bool] = True
