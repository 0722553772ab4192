"""The step down: Adam on the dense weights, row-wise Adagrad on the rows that were taken."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from hsnn.trainer.config.model import TrainerConfig
from hsnn.trainer.index.learners.base import IndexLearner
from hsnn.trainer.model.monn import Monn
from hsnn.trainer.optim.gather import GatheredRows, StepTables
from hsnn.trainer.optim.gradient_guard import GradientGuard, StepKind, gradient_norm
from hsnn.trainer.rowstore.arrays import Array


class StepOptimizer:
    """Both optimisers.

    Attributes
    ----------
    adam : Adam
        Of the dense weights; the learned levels have a rate of their own.
    rate : float
        Of the rows that are taken.
    guard : GradientGuard
        Refuses unsafe steps.
    """

    def __init__(self, config: TrainerConfig, monn: Monn, learner: IndexLearner, tables: StepTables) -> None:
        self.embedding_rate, self._monn, self._tables = config.embedding_rate, monn, tables
        self._codes_move = learner.task_loss_moves_nodes
        monn.levels.hierarchy.head.requires_grad_(learner.learns_head)
        index = list(monn.levels.hierarchy.parameters())
        own = {id(weight) for weight in index}
        others = [weight for weight in monn.parameters() if id(weight) not in own]
        groups = [{"params": others, "lr": config.dense_rate}, {"params": index, "lr": config.index.rate}]
        self.adam = torch.optim.Adam(groups, foreach=True)
        self.guard = GradientGuard()

    def set_rates(self, dense: float, embedding: float) -> None:
        """Step at other rates from here on; that of the learned levels stays."""
        self.adam.param_groups[0]["lr"], self.embedding_rate = dense, embedding

    def backward(self, loss: Tensor) -> None:
        """Collect the gradients of a loss; nothing else is changed."""
        self.adam.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        if not self._codes_move:
            for codes in self._monn.levels.hierarchy.codes:
                codes.grad = None

    def refusal(self, kind: StepKind, finite: bool, taken: GatheredRows | None = None) -> str:
        """Say why a step must not be made, with a loss that is `finite` and these gradients; empty if it may."""
        return self.guard.refusal(kind, gradient_norm(self.gradients(taken))) if finite else "its loss is not finite"

    def gradients(self, taken: GatheredRows | None) -> list[Tensor]:
        """All gradients that were collected, dense ones first, always in the same order."""
        leaves = [*self._monn.parameters(), *(() if taken is None else taken.gradient_leaves)]
        return [leaf.grad for leaf in leaves if leaf.grad is not None]

    def apply(self, taken: GatheredRows | None = None) -> None:
        """Step down the gradients that were collected: dense weights, and the rows that were taken."""
        self.adam.step()
        if taken is not None:
            self._tables.apply_gradients(taken, self.embedding_rate)

    def state_dict(self) -> dict[str, Array]:
        """Return what Adam remembers: ``INDEX.SLOT``."""
        slots_of = self.adam.state_dict()["state"]
        return {
            f"{index}.{slot}": np.asarray(value) for index, slots in slots_of.items() for slot, value in slots.items()
        }

    def load_state_dict(self, arrays: Mapping[str, Array]) -> None:
        """Take over what `state` returned."""
        slots: dict[int, dict[str, Tensor]] = {}
        for name, array in arrays.items():
            index, _, slot = name.partition(".")
            slots.setdefault(int(index), {})[slot] = torch.from_numpy(np.array(array))
        self.adam.load_state_dict({**self.adam.state_dict(), "state": slots})
