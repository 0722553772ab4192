"""Contract of the baselines: what they learn from, what they return, and the order of the calls."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from hsnn.evaluation.baselines.popularity_counts import PopularityRanking
from hsnn.evaluation.queries.query_batch import MethodResult, ModelView, QueryBatch
from hsnn.indexer.store.delta import Delta
from hsnn.serving.mirror.epoch_state import EpochState
from hsnn.streaming.schema.batch import Batch
from hsnn.trainer.config.model import TrainerConfig
from hsnn.trainer.messages import StateDelta
from hsnn.trainer.training.prepared import PreparedBatch

SERVED_MODEL = "served"
"""Key of the served model's view and scores in a `ScoredBatch`."""


@dataclass(frozen=True, slots=True)
class LearnedBatch:
    """A batch that the served model has learned, and what it changed in the mirror.

    Attributes
    ----------
    prepared : PreparedBatch
    history : (B, RECENT_ITEMS) int32
        Rows of the user's last items before each event.
    state : EpochState or None
        What the mirror holds now; None before the first version of the index.
    state_delta : StateDelta
        Item and user states that changed.
    deltas : sequence of Delta
        Items inserted, moved and deleted between versions.
    new_version : bool
        Whether the mirror loaded a version of the index after this batch.
    """

    prepared: PreparedBatch
    history: NDArray[np.int32]
    state: EpochState | None
    state_delta: StateDelta
    deltas: Sequence[Delta]
    new_version: bool


@dataclass(frozen=True, slots=True)
class ScoredBatch:
    """A batch of queries with the scores that all methods share.

    Attributes
    ----------
    queries : QueryBatch
    ranking : PopularityRanking
        The most popular items at every half-life.
    views : model name -> ModelView
        `SERVED_MODEL`, and each baseline that has a model of its own.
    scores : model name -> (B, N) float32
        Of all items, excluded ones at -inf; the keys are those of `views`.
    chosen : method -> column
        Settings that were chosen. Of other columns only the ranks are needed; empty while settings are tried.
    chosen_only : bool
        Whether other columns may be left out: what the best setting in hindsight would be is told by a part of the
        queries.
    """

    queries: QueryBatch
    ranking: PopularityRanking
    views: Mapping[str, ModelView]
    scores: Mapping[str, NDArray[np.float32]]
    chosen: Mapping[str, str] = field(default_factory=dict)
    chosen_only: bool = False

    def is_chosen(self, column: str) -> bool:
        """Whether more than the ranks of a column is needed."""
        return self.chosen.get(column.partition(":")[0]) == column

    def wanted(self, columns: Sequence[str]) -> list[int]:
        """Return the indices of those `columns` of a baseline that have to be answered."""
        return [at for at, column in enumerate(columns) if not self.chosen_only or self.is_chosen(column)]


class Baseline(ABC):
    """A retrieval method that the served path is compared with.

    For every batch, in this order: `prepare`, `view` and `answer`, `learn`. Nothing of a batch may be used before
    `learn`. Until the mirror has an index only counting baselines answer.
    """

    name: str
    """Column of its results; with settings, one column ``name:setting`` each."""

    settings: ClassVar[tuple[str, ...]] = ()
    """Parameters that are tried side by side. One is chosen on queries before the measured ones; the first is taken
    where there are none."""

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns of the results: one, or one per setting."""
        return tuple(f"{self.name}:{setting}" for setting in self.settings) or (self.name,)

    def prepare(self, batch: Batch) -> None:
        """Receive a batch whose queries are about to be answered; for baselines that run a learner of their own."""
        del batch

    def view(self, queries: QueryBatch) -> ModelView | None:
        """Encode the queries with the baseline's own model, to have all items scored by it; None without one."""
        del queries
        return None

    @abstractmethod
    def answer(self, batch: ScoredBatch) -> dict[str, MethodResult]:
        """Answer the queries; results by column."""

    def learn(self, batch: LearnedBatch) -> None:
        """Learn from a batch whose queries have been answered."""
        del batch


@dataclass(frozen=True, slots=True)
class BaselineContext:
    """What a baseline may be created from.

    Attributes
    ----------
    config : TrainerConfig
        Of the trainer whose model is served.
    budgets : tuple of int
        Points of the curves, in items; the last one is the budget of the answers.
    created : name -> Baseline
        Those that the declaration needs.
    """

    config: TrainerConfig
    budgets: tuple[int, ...]
    created: Mapping[str, Baseline]


@dataclass(frozen=True, slots=True)
class BaselineDeclaration:
    """Declaration of a baseline. A module of this package lists its own in `BASELINES`; nothing else names them.

    Attributes
    ----------
    name : str
    create : function
    counting : bool
        Whether it answers from counts alone: without a model, an index or training, and from the first event on.
    default : bool
        Whether it is measured unless asked otherwise; False for one that costs as much as the model.
    needs : names of baselines that are created, and learn, before it
    """

    name: str
    create: Callable[[BaselineContext], Baseline]
    counting: bool = False
    default: bool = True
    needs: tuple[str, ...] = ()
