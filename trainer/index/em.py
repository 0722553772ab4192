"""HILL's EM learner (arXiv 2604.12965): assign by the nearest node, then train with the assignment held fixed.

Both steps are made once per batch: the E-step is the hard assignment of the candidates, through which no gradient goes;
in the M-step the task loss moves the nodes, and nodes move to the mean of their items.
"""

from __future__ import annotations

from typing import ClassVar

from trainer.index.learner import IndexLearner, follow
from trainer.index.view import IndexView


class Em(IndexLearner):
    """The variant for small budgets."""

    differentiable: ClassVar[bool] = False

    def after(self, view: IndexView) -> None:
        """Take the M-step's mean."""
        follow(view, self.config.follow)
