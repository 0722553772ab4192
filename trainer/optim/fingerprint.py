"""Checksum of the inputs of a step, to detect workers that have diverged."""

from __future__ import annotations

import zlib

import numpy as np

from hsnn.trainer.optim.gather import GatheredRows
from hsnn.trainer.optim.step import GradientStep
from hsnn.trainer.rowstore.arrays import Array


def fingerprint(step: GradientStep, taken: GatheredRows, before: int) -> int:
    """Update the checksum `before` with the inputs of a step: rows, their weights, states, targets."""
    candidates = step.candidates
    leaves: list[Array] = [leaf.detach().numpy() for leaf in taken.gradient_leaves]
    arrays: list[Array] = [
        taken.rows,
        candidates.rows,
        candidates.states,
        candidates.log_q,
        candidates.targets,
        step.weights,
    ]
    for array in arrays + leaves:
        before = zlib.crc32(np.ascontiguousarray(array).data.cast("B") if array.size else b"", before)
    return before
