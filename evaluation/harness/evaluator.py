"""Evaluation of all methods on the same queries, with the same retrievable items and the same mirrored states."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from hsnn.evaluation.baselines.base import SERVED_MODEL, LearnedBatch, ScoredBatch
from hsnn.evaluation.baselines.popularity_counts import PopularityCounts, PopularityRanking
from hsnn.evaluation.baselines.registry import create_baselines
from hsnn.evaluation.harness.candidate_orders import ORDERS
from hsnn.evaluation.harness.offline_system import LearnResult, OfflineSystem
from hsnn.evaluation.harness.recorder import Recorder
from hsnn.evaluation.harness.served_path import served_result
from hsnn.evaluation.methods import CURVE_BUDGETS
from hsnn.evaluation.metrics.ranks import ranks_of, ranks_within
from hsnn.evaluation.queries.query_batch import MethodResult, QueryBatch
from hsnn.evaluation.queries.query_sampling import SampledQueries
from hsnn.serving.search.retrieval import CHUNK
from hsnn.streaming.schema.batch import Batch
from hsnn.trainer.config.model import TrainerConfig
from hsnn.trainer.training.prepared import PreparedBatch

# Items requested per query, at least: recall@200 must be readable from the answer.
MIN_K = 200


class Evaluator:
    """The served path, the exhaustive search and the baselines of one run.

    Parameters
    ----------
    config
        Of the trainer whose model is served.
    baselines
        Of `hsnn.evaluation.methods.BASELINES`; one that is not named is not created and costs nothing.

    Attributes
    ----------
    k : int
        Items requested per query.
    baselines : list of Baseline
    popularity : PopularityCounts
        Always counted: it tells which targets are rare.
    """

    def __init__(self, config: TrainerConfig, baselines: Sequence[str]) -> None:
        budget = config.model.budget
        self.k = max(MIN_K, budget)
        self._budgets = (*CURVE_BUDGETS, budget)
        self.popularity = PopularityCounts()
        self.baselines = create_baselines(baselines, config, self._budgets)

    def prepare(self, batch: Batch) -> None:
        """Receive a batch whose queries are about to be answered."""
        for baseline in self.baselines:
            baseline.prepare(batch)

    def evaluate(self, system: OfflineSystem, sampled: SampledQueries, recorder: Recorder) -> None:
        """Let all methods answer the queries, and record the results."""
        self.popularity.reserve(len(system.learner.items))
        # In the chunks of the server, so that the served model's figures are those of serving to the last bit.
        for start in range(0, len(sampled.requests), CHUNK):
            self._evaluate_chunk(system, sampled.select(slice(start, start + CHUNK)), recorder)

    def learn(
        self, prepared: PreparedBatch, history: NDArray[np.int32], system: OfflineSystem, result: LearnResult
    ) -> None:
        """Let the baselines learn the batch that the served model has learned.

        `history` (B, RECENT_ITEMS) holds the user's last items before each event.
        """
        self.popularity.reserve(len(system.learner.items))
        self.popularity.add(prepared.items, prepared.ts)
        batch = LearnedBatch(
            prepared=prepared,
            history=history,
            state=system.mirror.state if system.mirror.loaded else None,
            state_delta=result.state,
            deltas=result.deltas,
            new_version=result.new_version,
        )
        for baseline in self.baselines:
            baseline.learn(batch)

    def _evaluate_chunk(self, system: OfflineSystem, sampled: SampledQueries, recorder: Recorder) -> None:
        queries = QueryBatch(system.mirror.state, sampled)
        scored = self._score(queries)
        recorder.begin(queries, scored.ranking)
        recorder.record("served", served_result(system.mirror, queries, self.k))
        scores = scored.scores[SERVED_MODEL]
        recorder.record("exhaustive", MethodResult(ranks_of(scores, queries.targets), queries.top_positions(scores)))
        for baseline in self.baselines:
            recorder.record_all(baseline.answer(scored))
        recorder.record_all(self._curves(queries, scores))

    def _score(self, queries: QueryBatch) -> ScoredBatch:
        """Score all items by the served model and by the models of the baselines."""
        ranking = PopularityRanking(self.popularity, queries, max(self._budgets) + queries.excluded.shape[1])
        views = {SERVED_MODEL: queries.served_view()}
        for baseline in self.baselines:
            if (view := baseline.view(queries)) is not None:
                views[baseline.name] = view
        scores = dict(zip(views, queries.score(list(views.values())), strict=True))
        return ScoredBatch(queries, ranking, views, scores)

    def _curves(self, queries: QueryBatch, scores: NDArray[np.float32]) -> dict[str, MethodResult]:
        """Ranks and work of every candidate order at every budget, by column (``merge@50``)."""
        results = {}
        for name, candidate_order in ORDERS.items():
            order = candidate_order(queries, max(self._budgets))
            ranks, scored = ranks_within(order, scores, queries.targets, self._budgets)
            for index, budget in enumerate(self._budgets):
                results[f"{name}@{budget}"] = MethodResult(ranks[:, index], None, scored[:, index])
        return results
