"""Optimizer of a step: Adam on the dense weights, row-wise Adagrad on the gathered rows."""

from __future__ import annotations

import inspect
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from hsnn.trainer.config.model import TrainerConfig
from hsnn.trainer.index.index_learner import IndexLearner
from hsnn.trainer.model.monn import Monn
from hsnn.trainer.optim.gather import GatheredRows, StepTables
from hsnn.trainer.optim.gradient_guard import GradientGuard, StepKind, gradient_norm
from hsnn.trainer.rowstore.arrays import Array


class _UncompiledAdam(torch.optim.Adam):
    """Adam that does not load torch's compiler.

    torch wraps these methods so that `torch.compile` leaves them alone; the first call imports the compiler, which
    takes as long as torch itself. Nothing here is compiled.
    """

    add_param_group = inspect.unwrap(torch.optim.Adam.add_param_group)
    load_state_dict = inspect.unwrap(torch.optim.Adam.load_state_dict)
    state_dict = inspect.unwrap(torch.optim.Adam.state_dict)
    step = torch.no_grad()(inspect.unwrap(torch.optim.Adam.step))


class StepOptimizer:
    """Adam for dense weights and the learning rate of row-wise Adagrad, behind a gradient guard.

    Attributes
    ----------
    adam : Adam
        Of the dense weights; the hierarchy has a learning rate of its own.
    embedding_rate : float
        Learning rate of the gathered rows.
    guard : GradientGuard
        Refuses unsafe steps.
    moved : float
        Mean changes of the weights of one layer by the steps since it was set to 0, added up: what stays 0 is frozen.
    """

    def __init__(self, config: TrainerConfig, monn: Monn, learner: IndexLearner, tables: StepTables) -> None:
        self.embedding_rate, self._monn, self._tables = config.embedding_rate, monn, tables
        self._weights = list(monn.parameters())  # listing them takes a fortieth of a step
        self._codes_move = learner.task_loss_moves_nodes
        monn.levels.hierarchy.head.requires_grad_(learner.learns_head)
        index = list(monn.levels.hierarchy.parameters())
        index_ids = {id(weight) for weight in index}
        others = [weight for weight in self._weights if id(weight) not in index_ids]
        groups = [{"params": others, "lr": config.dense_rate}, {"params": index, "lr": config.index.rate}]
        self.adam = _UncompiledAdam(groups, fused=True)
        self.guard, self.moved = GradientGuard(), 0.0
        # A small layer that every step learns: what one does all do, since Adam's steps are of one length.
        self._watched = next(monn.state_tower.layers.parameters())

    def set_rates(self, dense: float, embedding: float) -> None:
        """Change the learning rates, except that of the hierarchy."""
        self.adam.param_groups[0]["lr"], self.embedding_rate = dense, embedding

    def backward(self, loss: Tensor) -> None:
        """Compute the gradients of a loss; nothing else is changed."""
        for weight in self._weights:
            weight.grad = None
        loss.backward()  # type: ignore[no-untyped-call]
        if not self._codes_move:
            for codes in self._monn.levels.hierarchy.codes:
                codes.grad = None

    def refusal(self, kind: StepKind, finite: bool, taken: GatheredRows | None = None) -> str:
        """Return why a step must be refused, by its gradients and whether its loss is `finite`; empty if it may run."""
        return self.guard.refusal(kind, gradient_norm(self.gradients(taken))) if finite else "its loss is not finite"

    def gradients(self, taken: GatheredRows | None) -> list[Tensor]:
        """Return all gradients, dense ones first, always in the same order."""
        leaves = [*self._weights, *(() if taken is None else taken.gradient_leaves)]
        return [leaf.grad for leaf in leaves if leaf.grad is not None]

    def apply(self, taken: GatheredRows | None = None) -> None:
        """Apply the gradients to the dense weights and to the gathered rows."""
        watched = self._watched.detach().numpy()
        before = watched.copy()
        self.adam.step()
        self.moved += float(np.abs(watched - before).mean())
        if taken is not None:
            self._tables.apply_gradients(taken, self.embedding_rate)

    def state_dict(self) -> dict[str, Array]:
        """Return Adam's state as arrays named ``INDEX.SLOT``."""
        slots_of = self.adam.state_dict()["state"]
        return {
            f"{index}.{slot}": np.asarray(value) for index, slots in slots_of.items() for slot, value in slots.items()
        }

    def load_state_dict(self, arrays: Mapping[str, Array]) -> None:
        """Load what `state_dict` returned."""
        slots: dict[int, dict[str, Tensor]] = {}
        for name, array in arrays.items():
            index, _, slot = name.partition(".")
            slots.setdefault(int(index), {})[slot] = torch.from_numpy(np.array(array))
        self.adam.load_state_dict({**self.adam.state_dict(), "state": slots})
