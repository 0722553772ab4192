"""Inputs and outputs of one training step of the learned index."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from hsnn.trainer.distributed.shard import StepTotals, mean
from hsnn.trainer.index.hierarchy import LevelPath, soft_assignment
from hsnn.trainer.index.levels import Levels, LevelScores


@dataclass(frozen=True, slots=True)
class IndexBatch:
    """Inputs of the index in one step: B users against U candidates.

    Attributes
    ----------
    base : (U, d+1)
        First static vectors and biases of the candidates; gradients flow to the items unless a learner detaches them.
    users : (B, m_l*d) per level
    targets : (B,) int64
        Index of each user's item among the candidates.
    weight : (B,)
    log_q : (U,)
        Log expected count of each candidate in the sample.
    uniform : (n,) int64
        Indices of the candidates that were drawn uniformly.
    leaf_log_share : (K,)
        Log share of the traffic that goes to each leaf.
    events : int
        Events since the nodes were seeded.
    totals : StepTotals
        Denominators of the whole step, of which this may be one shard.
    """

    base: Tensor
    users: tuple[Tensor, ...]
    targets: Tensor
    weight: Tensor
    log_q: Tensor
    uniform: NDArray[np.int64]
    leaf_log_share: Tensor
    events: int
    totals: StepTotals

    def mean(self, values: Tensor) -> Tensor:
        """Weighted mean over the users of values (B,), or a shard's term of it."""
        return mean(values, self.weight, self.totals.weight)


@dataclass(frozen=True, slots=True)
class IndexOutput:
    """Assignments and scores of the candidates of one step.

    Attributes
    ----------
    batch : IndexBatch
        Its inputs.
    projected : (U, d+1)
        Candidates after the head.
    paths, scores
        One per level.
    sharpness : float
        Current alpha of the soft assignment.
    """

    batch: IndexBatch
    levels: Levels
    projected: Tensor
    paths: list[LevelPath]
    scores: list[LevelScores]
    sharpness: float

    @property
    def leaf_log_probs(self) -> Tensor:
        """Return the log probability of each candidate's leaf, (B, U), without gradient."""
        return self.scores[-1].log_p.detach().index_select(1, self.scores[-1].columns)

    @property
    def leaves(self) -> NDArray[np.int64]:
        """Return the leaf of each candidate, (U,)."""
        nodes: NDArray[np.int64] = self.paths[-1].nodes.numpy()
        return nodes

    def soft(self, level: int) -> Tensor:
        """Compute the soft assignment of the candidates at a level, (U, F)."""
        return soft_assignment(self.paths[level].distances, self.sharpness)
