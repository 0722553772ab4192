"""What goes into a gradient step, and what it says of itself."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from hsnn.trainer.distributed.shard import QueryShard, StepTotals
from hsnn.trainer.features.queries import QueryArrays
from hsnn.trainer.optim.batch import LabelledItems
from hsnn.trainer.retrieval.inverted_lists import InvertedLists


class StepCandidates(NamedTuple):
    """The distinct items a batch is scored against.

    Attributes
    ----------
    rows : (U,) int64
    tokens : (rows of the catalogue, T) int32
        Content tokens of every row.
    states : (U, F) float32
    log_q : (U,) float32
    targets : (B,) int64
        Index of each event's item among `rows`.
    uniform : (n,) int64
        Indices of those among `rows` that were drawn uniformly.
    cross : (B, U, C) float32 or None
        Cross features, where the model has them.
    """

    rows: NDArray[np.int64]
    tokens: NDArray[np.int32]
    states: NDArray[np.float32]
    log_q: NDArray[np.float32]
    targets: NDArray[np.int64]
    uniform: NDArray[np.int64]
    cross: NDArray[np.float32] | None = None


@dataclass(frozen=True, slots=True)
class GradientStep:
    """What a gradient step learns from.

    Attributes
    ----------
    queries : QueryArrays
        Of B events.
    candidates : StepCandidates
    weights : (B,) float32
    leaves : InvertedLists
        Where items are now.
    since_seeded : int or None
        Events learned since the nodes were taken from items; None before.
    judged : LabelledItems or None
        Items that were shown to people, with what became of them.
    fresh : int
        The first so many events are new; the item loss that is told is theirs.
    """

    queries: QueryArrays
    candidates: StepCandidates
    weights: NDArray[np.float32]
    leaves: InvertedLists
    since_seeded: int | None
    judged: LabelledItems | None
    fresh: int

    def totals(self, part: QueryShard) -> StepTotals:
        """Return what the sums of a part are divided by."""
        weight = torch.from_numpy(self.weights)
        judged = 0 if self.judged is None else len(self.judged.items)
        return StepTotals(
            weight=weight.sum(),
            fresh=weight[: self.fresh].sum(),
            queries=len(weight),
            judged=judged,
            judged_cut=part.slice_of(judged),
            share=1 / part.size,
        )

    def part_of(self, part: QueryShard) -> GradientStep:
        """Return the same step with the queries and judged items of one part alone."""
        if part.size == 1:
            return self
        cut, own = part.slice_of(len(self.weights)), self.candidates
        cross = None if own.cross is None else own.cross[cut]
        return replace(
            self,
            queries=self.queries.select(cut),
            weights=self.weights[cut],
            candidates=own._replace(targets=own.targets[cut], cross=cross),
            judged=self.judged and self.judged.select(part.slice_of(len(self.judged.items))),
            fresh=min(max(self.fresh - cut.start, 0), cut.stop - cut.start),
        )


class StepLosses(NamedTuple):
    """Losses of one step, and the leaves (U,) its candidates were assigned to (None before the nodes are seeded).

    `probabilities` (J, A) are the probabilities that were given to the labels of judged items before they were learned.
    `refused` says why the step was not made; empty if it was. A step that was refused changed nothing.
    """

    item: float
    node: float
    leaves: NDArray[np.int64] | None
    judged: float = 0.0
    probabilities: NDArray[np.float32] | None = None
    refused: str = ""

    @property
    def finite(self) -> bool:
        """Whether all of them are; a loss that is not finite would spoil every weight it reaches."""
        return math.isfinite(self.item) and math.isfinite(self.node) and math.isfinite(self.judged)
