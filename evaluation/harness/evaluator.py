"""Puts one batch's queries to every method: the same queries, the same living items, the same mirrored states."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from hsnn.evaluation.baselines.ann_indexes import GRAPHS, Neighbours
from hsnn.evaluation.baselines.covisitation import CoVisitation
from hsnn.evaluation.baselines.popularity import Leaders, Popularity, filtered, popular
from hsnn.evaluation.baselines.shuffled_index import ShuffledIndex
from hsnn.evaluation.baselines.two_tower import TwoTower
from hsnn.evaluation.harness.candidate_orders import BUDGETS, merge_order, traffic_order, whole_nodes_order
from hsnn.evaluation.harness.offline_system import OfflineSystem, Step
from hsnn.evaluation.harness.query_batch import Field, Found
from hsnn.evaluation.harness.query_sampling import Asked
from hsnn.evaluation.harness.recorder import Tally
from hsnn.evaluation.harness.served_path import served
from hsnn.evaluation.metrics.ranks import ranks_of, ranks_within
from hsnn.serving.search.beam import CHUNK
from hsnn.streaming.schema.batch import Batch
from hsnn.trainer.config.model import TrainerConfig
from hsnn.trainer.training.prepared import Prepared

K = 200
"""Items asked for at least, so that recall@200 can be read."""


class Judge:
    """All methods of one run; one that is not asked for is not made and costs nothing.

    Parameters
    ----------
    config
        Of the trainer whose model serves.
    baselines
        Out of `hsnn.evaluation.baselines.registry.BASELINES`.
    """

    def __init__(self, config: TrainerConfig, baselines: Sequence[str]) -> None:
        model = config.model
        self.k = max(K, model.budget)
        self._budgets = (*BUDGETS, model.budget)
        self._baselines = frozenset(baselines)
        self._popularity = Popularity()  # always: it tells which targets are rare
        self._covisitation = CoVisitation() if "covisitation" in baselines else None
        self._shuffled = ShuffledIndex(model.leaves, config.seed) if "shuffled_index" in baselines else None
        self._two_tower = TwoTower(config) if {"two_tower", *GRAPHS} & self._baselines else None
        self._neighbours = [Neighbours(name, model) for name in GRAPHS if name in baselines]

    def prepare(self, batch: Batch) -> None:
        """Take in a batch whose queries are about to be asked."""
        if self._two_tower is not None:
            self._two_tower.prepare(batch)

    def ask(self, system: OfflineSystem, asked: Asked, tally: Tally) -> None:
        """Put queries to all methods and write down what they return."""
        self._popularity.reserve(len(system.learner.items))
        for start in range(0, len(asked.requests), CHUNK):
            self._ask(system, asked.part(slice(start, start + CHUNK)), tally)

    def learned(self, prepared: Prepared, history: NDArray[np.int32], system: OfflineSystem, step: Step) -> None:
        """Let the rivals learn what the served model has learned; `history` (B, L) is what came before each event."""
        self._popularity.reserve(len(system.learner.items))
        self._popularity.count(prepared.items, prepared.ts)
        if self._covisitation is not None:
            self._covisitation.count(prepared.items, prepared.ts, history)
        if self._two_tower is not None:
            changed = self._two_tower.learn(step.flipped)
            arrived = [delta.row for delta in step.deltas if delta.op == "insert"]  # some of them for the second time
            changed = np.union1d(changed, arrived).astype(np.int64)
            if system.mirror.loaded:
                for rival in self._neighbours:
                    rival.follow(self._two_tower, system.mirror.state, changed, step.flipped)
        if self._shuffled is not None and system.mirror.loaded:
            self._shuffled.follow(system.mirror.state, step.state, step.deltas, step.flipped)

    def _ask(self, system: OfflineSystem, asked: Asked, tally: Tally) -> None:
        field = Field(system.mirror.state, asked)
        leaders = Leaders(self._popularity, field, max(self._budgets) + field.barred.shape[1])
        views = [field.own()]
        if self._two_tower is not None:
            views.append(self._two_tower.view(field))
        scores = field.score(views)
        tally.begin(field, leaders)
        tally.found("served", served(system.mirror, field, self.k))
        tally.found("exhaustive", Found(ranks_of(scores[0], field.places), field.top(scores[0])))
        for name, found in self._rivals(field, leaders, scores[0]):
            tally.found(name, found)
        if self._two_tower is not None:
            tally.found("two_tower", Found(ranks_of(scores[1], field.places), field.top(scores[1])))
            for rival in self._neighbours:
                tally.all_found(rival.judge(field, views[1], scores[1]))
        self._curves(field, leaders, scores[0], tally)

    def _rivals(self, field: Field, leaders: Leaders, scores: NDArray[np.float32]) -> Iterator[tuple[str, Found]]:
        """Answers of the rivals that have no model of their own."""
        yield from popular(field, leaders).items()  # always, see above
        if self._covisitation is not None:
            yield from self._covisitation.judge(field, leaders.counts).items()
        if self._shuffled is not None:
            yield "shuffled_index", self._shuffled.judge(field, scores)

    def _curves(self, field: Field, leaders: Leaders, scores: NDArray[np.float32], tally: Tally) -> None:
        for name, order in (
            ("merge", merge_order(field, max(self._budgets))),
            ("merge_traffic", traffic_order(field, max(self._budgets))),
            ("whole_nodes", whole_nodes_order(field, max(self._budgets))),
            ("whole_nodes_dense", whole_nodes_order(field, max(self._budgets), dense=True)),
        ):
            ranks, scored = ranks_within(order, scores, field.places, self._budgets)
            tally.curve(name, self._budgets, ranks, scored)
        if "popularity_filter" in self._baselines:
            answers, curves = filtered(field, leaders, scores, self._budgets)
            tally.all_found(answers)
            tally.ranks_only(curves)
