"""Inputs of a gradient step, and the losses it reports."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from hsnn.monitoring.observation import MEMORY_NAMES, NEIGHBOURS_NAME
from hsnn.trainer.distributed.shard import QueryShard, StepTotals
from hsnn.trainer.features.pair_facts import PairFacts
from hsnn.trainer.features.queries import QueryArrays
from hsnn.trainer.optim.batch import LabelledItems
from hsnn.trainer.retrieval.inverted_lists import InvertedLists
from hsnn.trainer.rowstore.arrays import cut_of_queries

# Total weight of a step's examples that losses are divided by, at least: all of them may be barred.
_LEAST_WEIGHT = 1e-6


class ExcludedPairs(NamedTuple):
    """Pairs of a query and a candidate, both (n,) int64, ordered by query."""

    query: NDArray[np.int64]
    candidate: NDArray[np.int64]

    def select(self, queries: slice) -> ExcludedPairs:
        """Return the pairs of a range of queries, numbered from its start."""
        cut = cut_of_queries(self.query, queries)
        return ExcludedPairs(self.query[cut] - queries.start, self.candidate[cut])


class StepCandidates(NamedTuple):
    """Distinct candidate items that a batch is scored against.

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
    excluded : ExcludedPairs
        Pairs that would not be served, so that they are no negatives.
    cross : (B, U, C) float32 or None
        Cross features, where the model has them.
    facts : PairFacts or None
        Pair facts of the new events, where the model uses them; what is learned again has none.
    """

    rows: NDArray[np.int64]
    tokens: NDArray[np.int32]
    states: NDArray[np.float32]
    log_q: NDArray[np.float32]
    targets: NDArray[np.int64]
    uniform: NDArray[np.int64]
    excluded: ExcludedPairs
    cross: NDArray[np.float32] | None = None
    facts: PairFacts | None = None

    def target_sources(self) -> NDArray[np.uint8]:
        """Return which pair facts name each event's item (B,), `NEIGHBOURS_NAME` and `MEMORY_NAMES` added up.

        An item that one of them names is a candidate without the index.
        """
        named = np.zeros(len(self.targets), np.uint8)
        if self.facts is not None:
            for flag, query, candidate in (
                (NEIGHBOURS_NAME, self.facts.query, self.facts.candidate),
                (MEMORY_NAMES, self.facts.own_query, self.facts.own_candidate),
            ):
                named[query[self.targets[query] == candidate]] |= np.uint8(flag)
        return named


@dataclass(frozen=True, slots=True)
class GradientStep:
    """Inputs of a gradient step.

    Attributes
    ----------
    queries : QueryArrays
        Of B events.
    candidates : StepCandidates
    weights : (B,) float32
        Negative for an example against the item.
    leaves : InvertedLists
        Current leaves of the items.
    since_seeded : int or None
        Events learned since the nodes were taken from items; None before.
    judged : LabelledItems or None
        Items that were shown to users, with their labels.
    fresh : int
        Number of new events, which come first; the reported item loss is theirs.
    least_weight : float
        Weight that the mean over the events is taken over, at least.
    probed : bool
        Whether the index is measured in this step: see `StepSums.probes` of `hsnn.trainer.optim.loss`.
    """

    queries: QueryArrays
    candidates: StepCandidates
    weights: NDArray[np.float32]
    leaves: InvertedLists
    since_seeded: int | None
    judged: LabelledItems | None
    fresh: int
    least_weight: float = 0.0
    probed: bool = True

    def totals(self, part: QueryShard) -> StepTotals:
        """Compute the denominators of the sums of a shard."""
        weight = torch.from_numpy(self.weights).abs()
        judged = 0 if self.judged is None else len(self.judged.items)
        return StepTotals(
            weight=weight.sum().clamp_min(max(self.least_weight, _LEAST_WEIGHT)),
            fresh=weight[: self.fresh].sum().clamp_min(_LEAST_WEIGHT),
            queries=len(weight),
            judged=judged,
            judged_cut=part.slice_of(judged),
            share=1 / part.size,
            first=part.slice_of(len(weight)).start,
        )

    def part_of(self, part: QueryShard) -> GradientStep:
        """Restrict the step to the queries and labelled items of one shard; the candidates stay."""
        if part.size == 1:
            return self
        cut, candidates = part.slice_of(len(self.weights)), self.candidates
        own = candidates._replace(
            targets=candidates.targets[cut],
            excluded=candidates.excluded.select(cut),
            cross=None if candidates.cross is None else candidates.cross[cut],
            facts=None if candidates.facts is None else candidates.facts.select(cut),
        )
        return replace(
            self,
            queries=self.queries.select(cut),
            weights=self.weights[cut],
            candidates=own,
            judged=self.judged and self.judged.select(part.slice_of(len(self.judged.items))),
            fresh=min(max(self.fresh - cut.start, 0), cut.stop - cut.start),
        )


class StepLosses(NamedTuple):
    """Losses of one step, and the leaves (U,) its candidates were assigned to (None before the nodes are seeded).

    `probabilities` (J, A) are those predicted for the labels of labelled items before the step. `refused` says why the
    step was refused, and is empty if it was applied; a refused step changed nothing. `probes` and `ranks` are those of
    `hsnn.trainer.optim.loss.StepSums`.
    """

    item: float
    node: float
    leaves: NDArray[np.int64] | None
    judged: float = 0.0
    probabilities: NDArray[np.float32] | None = None
    refused: str = ""
    probes: NDArray[np.float32] | None = None
    ranks: NDArray[np.float32] | None = None

    @property
    def finite(self) -> bool:
        """Whether all losses are finite; one that is not would spoil every weight its gradient reaches."""
        return math.isfinite(self.item) and math.isfinite(self.node) and math.isfinite(self.judged)
