"""Guard against unsafe gradient steps: refuse gradients that are not finite or far larger than usual.

The decision is made after the gradients are computed and before they are applied. It depends on the gradients so far
alone, so that a replay makes the same decisions.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from enum import IntEnum

import numpy as np
import torch
from torch import Tensor

from hsnn.trainer.rowstore.arrays import Array

LIMIT = 1000.0
"""Largest allowed multiple of the usual norm; on the data sets of the benchmarks no step comes near it."""


class StepKind(IntEnum):
    """Kinds of gradient steps, each with a usual norm of its own; the value is its index in the guard's arrays."""

    BATCH = 0
    """On a batch of events."""
    LABELLED = 1
    """On labelled items alone."""
    EXTRA = 2
    """Of the learned levels alone."""


# Weight per step of the past in the running log norm: a mean over about the last 100 steps of a kind.
_MEMORY = 0.99
# Steps of a kind before its limit applies: until then the usual norm is a mean of too few.
_WARM_UP = 64
# Gradient norm below which a step counts as one without a gradient: its logarithm would distort the mean.
_SMALLEST = 1e-12


class GradientGuard:
    """Refuse steps whose gradient norm is not finite, or is beyond `limit` times the usual norm.

    The usual norm of a kind of steps is the running geometric mean of its norms, without steps that have no gradient. A
    refused norm counts as one at the limit, so norms that stay large become usual within some hundred steps and
    training never stops for good.

    Attributes
    ----------
    limit : float or None
        None: only norms that are not finite are refused.
    last : (kinds,) float64
        Norm of the last step of each kind, for monitoring; not part of the state.

    Examples
    --------
    >>> guard = GradientGuard(limit=10.0)
    >>> [guard.refusal(StepKind.BATCH, 2.0) for _ in range(64)] == [""] * 64
    True
    >>> guard.refusal(StepKind.BATCH, 21.0), guard.refusal(StepKind.BATCH, 19.0)
    ("its gradient's norm 21 is beyond 10 times the usual 2", '')
    """

    def __init__(self, limit: float | None = LIMIT) -> None:
        self.limit = limit
        self._seen = np.zeros(len(StepKind), np.int64)
        self._log_norm = np.zeros(len(StepKind))
        self.last = np.full(len(StepKind), np.nan)

    def refusal(self, kind: StepKind, norm: float) -> str:
        """Return why a step with this gradient norm must be refused; empty if it need not."""
        self.last[kind] = norm
        if not math.isfinite(norm):
            return "its gradient is not finite"
        if norm < _SMALLEST:
            return ""  # changes nothing, and is no measure of the usual norm
        usual = math.exp(self._log_norm[kind])
        limited = self.limit is not None and self._seen[kind] >= _WARM_UP
        most = (self.limit or 0.0) * usual if limited else math.inf
        self._update(kind, min(norm, most))
        return (
            ""
            if norm <= most
            else f"its gradient's norm {norm:.3g} is beyond {self.limit:g} times the usual {usual:.3g}"
        )

    def _update(self, kind: StepKind, norm: float) -> None:
        """Count a norm in its kind's running mean."""
        # A plain mean of the first norms, so that the initial zero has no weight; a moving average after those.
        share = max(1 - _MEMORY, 1 / (self._seen[kind] + 1))
        self._log_norm[kind] += share * (math.log(norm) - self._log_norm[kind])
        self._seen[kind] += 1

    def state_dict(self) -> dict[str, Array]:
        """Return the arrays that the next decision depends on."""
        return {"seen": self._seen, "log_norm": self._log_norm}

    def load_state_dict(self, arrays: Mapping[str, Array]) -> None:
        """Load what `state_dict` returned."""
        self._seen, self._log_norm = arrays["seen"].copy(), arrays["log_norm"].copy()


def gradient_norm(gradients: Sequence[Tensor]) -> float:
    """Compute the Euclidean norm of all gradients together.

    Examples
    --------
    >>> gradient_norm([torch.tensor([3.0]), torch.tensor([[4.0]])])
    5.0
    """
    return float(torch.nn.utils.get_total_norm(gradients))
