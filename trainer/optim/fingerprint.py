"""A number for what a step was made of, to notice workers that have come apart."""

from __future__ import annotations

import zlib

import numpy as np

from hsnn.trainer.optim.gather import GatheredRows
from hsnn.trainer.optim.step import GradientStep
from hsnn.trainer.rowstore.arrays import Array


def fingerprint(step: GradientStep, taken: GatheredRows, before: int) -> int:
    """Continue a checksum with everything that a step takes in: rows, their weights, states, targets."""
    own = step.candidates
    leaves: list[Array] = [leaf.detach().numpy() for leaf in taken.gradient_leaves]
    arrays: list[Array] = [taken.rows, own.rows, own.states, own.log_q, own.targets, step.weights]
    for array in arrays + leaves:
        before = zlib.crc32(np.ascontiguousarray(array).data.cast("B") if array.size else b"", before)
    return before
