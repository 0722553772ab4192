"""Evaluation of all methods on the same queries, with the same retrievable items and the same mirrored states."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray

from hsnn.evaluation.baselines.base import SERVED_MODEL, Baseline, LearnedBatch, ScoredBatch
from hsnn.evaluation.baselines.popularity_counts import PopularityCounts, PopularityRanking
from hsnn.evaluation.baselines.registry import counting_baselines, create_baselines
from hsnn.evaluation.harness.candidate_orders import ORDERS
from hsnn.evaluation.harness.frozen_mirror import FrozenMirror
from hsnn.evaluation.harness.offline_system import LearnResult, OfflineSystem
from hsnn.evaluation.harness.recorder import Recorder
from hsnn.evaluation.harness.served_path import served_result
from hsnn.evaluation.methods import CURVE_BUDGETS, ENGINE_K, MODEL_METHODS
from hsnn.evaluation.metrics.chosen_settings import choose_columns
from hsnn.evaluation.metrics.ranks import ranks_of, ranks_within
from hsnn.evaluation.queries.query_batch import MethodResult, ModelView, QueryBatch
from hsnn.evaluation.queries.query_sampling import SampledQueries
from hsnn.serving.search.retrieval import CHUNK
from hsnn.streaming.schema.batch import Batch
from hsnn.trainer.config.model import TrainerConfig
from hsnn.trainer.training.prepared import PreparedBatch

# So many queries are answered under all settings; after them one chunk in so many, the others under the chosen setting
# alone: enough to tell which would have been the best, at a third of the cost.
_ALL_SETTINGS, _HINDSIGHT_CHUNKS = 2000, 4

# Items requested per query, at least: recall@200 must be readable from the answer.
MIN_K = 200


class Evaluator:
    """The served path, the exhaustive search and the baselines of one run.

    Parameters
    ----------
    config
        Of the trainer whose model is served.
    baselines
        Of `hsnn.evaluation.baselines.registry.declarations`; one that is not named is not created and costs nothing.
    served_only
        Whether of the served model the beam alone is measured; then only counting baselines can be.

    Attributes
    ----------
    k : int
        Items requested per query.
    baselines : list of Baseline
    popularity : PopularityCounts
        Always counted: it tells which targets are rare.
    chosen : method -> column
        Settings of the baselines; empty until they are chosen, with the first measured queries.
    seconds : name -> wall time
        Of each method, and of the curves; answering and learning together.
    """

    def __init__(self, config: TrainerConfig, baselines: Sequence[str], *, served_only: bool = False) -> None:
        budget = config.model.budget
        self.k = max(MIN_K, budget)
        self._budgets = (*CURVE_BUDGETS, budget)
        self.popularity = PopularityCounts()
        self.baselines = create_baselines(baselines, config, self._budgets)
        self._counting = set(counting_baselines())
        self._served_only = served_only
        self._frozen = FrozenMirror()
        self.chosen: dict[str, str] = {}
        self._trials, self._measured = Recorder(), 0
        self.seconds: dict[str, float] = defaultdict(float)

    def prepare(self, batch: Batch) -> None:
        """Receive a batch whose queries are about to be answered."""
        for baseline in self.baselines:
            baseline.prepare(batch)

    def evaluate(self, system: OfflineSystem, sampled: SampledQueries, recorder: Recorder) -> None:
        """Let all methods answer the queries, and record the results."""
        if len(sampled.requests) and not self.chosen:
            self.choose_settings()
        for queries in self._chunks(system, sampled):
            scored = self._score(queries)
            recorder.begin(queries, scored.ranking)
            self._answer_by_model(system, scored, recorder)
            self._answer_by_baselines(self.baselines, scored, recorder)

    def choose_settings(self) -> None:
        """Choose the settings of the baselines, once for all queries to come, by what `try_settings` found."""
        columns = {baseline.name: baseline.columns for baseline in self.baselines}
        self.chosen = choose_columns(columns, self._trials.ranks())

    def try_settings(self, system: OfflineSystem, sampled: SampledQueries) -> None:
        """Let the baselines that have settings answer earlier queries, to choose the settings by."""
        baselines = [baseline for baseline in self.baselines if baseline.settings]
        for queries in self._chunks(system, sampled):
            scored = self._score(queries)
            self._trials.begin(queries, scored.ranking)
            self._answer_by_baselines(baselines, scored, self._trials)

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
            with self._timed(baseline.name):
                baseline.learn(batch)

    def freeze(self, system: OfflineSystem, last: int, following: int) -> None:
        """Renew the copy of the mirror that stands still; see `FrozenMirror.follow`."""
        with self._timed("frozen_1h"):
            self._frozen.follow(system.mirror, last, following)

    def _chunks(self, system: OfflineSystem, sampled: SampledQueries) -> Iterator[QueryBatch]:
        """Split queries into the chunks of the server: the served figures are those of serving to the last bit."""
        self.popularity.reserve(len(system.learner.items))
        state = system.mirror.state if system.mirror.loaded else None
        known = self.popularity.known() if state is None else None
        for start in range(0, len(sampled.requests), CHUNK):
            yield QueryBatch(state, sampled.select(slice(start, start + CHUNK)), known)

    def _answer_by_model(self, system: OfflineSystem, scored: ScoredBatch, recorder: Recorder) -> None:
        queries = scored.queries
        if not queries.has_index:
            recorder.record_all({name: MethodResult.nothing(len(queries)) for name in MODEL_METHODS})
            return
        with self._timed("served"):
            served = served_result(system.mirror, queries, self.k)
        if self._served_only:
            recorder.record("served", served)
            return
        with self._timed("frozen_1h"):
            frozen = self._frozen.answer(served, queries, self.k)
        scores = scored.scores[SERVED_MODEL]
        exhaustive = MethodResult(ranks_of(scores, queries.targets), queries.top_positions(scores))
        with self._timed("engine"):
            engine = served_result(system.mirror, queries, ENGINE_K, whole_leaves=True)
        recorder.record_all({"served": served, "exhaustive": exhaustive, "frozen_1h": frozen, "engine": engine})
        with self._timed("curves"):
            recorder.record_all(self._curves(queries, scores))

    def _answer_by_baselines(self, baselines: Sequence[Baseline], scored: ScoredBatch, recorder: Recorder) -> None:
        for baseline in baselines:
            if scored.queries.has_index or baseline.name in self._counting:
                with self._timed(baseline.name):
                    results = baseline.answer(scored)
                not_asked = MethodResult(np.full(len(scored.queries), np.nan), None)
                recorder.record_all({**dict.fromkeys(baseline.columns, not_asked), **results})
            else:
                nothing = MethodResult.nothing(len(scored.queries))
                recorder.record_all(dict.fromkeys(baseline.columns, nothing))

    def _score(self, queries: QueryBatch) -> ScoredBatch:
        """Score all items by the served model and by the models of the baselines."""
        ranking = PopularityRanking(self.popularity, queries, max(self._budgets) + queries.excluded.shape[1])
        views: dict[str, ModelView] = {}
        if queries.has_index and not self._served_only:
            views[SERVED_MODEL] = queries.served_view()
            for baseline in self.baselines:
                if (view := baseline.view(queries)) is not None:
                    views[baseline.name] = view
        with self._timed("exhaustive"):
            scores = dict(zip(views, queries.score(list(views.values())), strict=True))
        beyond = not self._served_only and self._measured > _ALL_SETTINGS
        chosen_only = beyond and self._measured // CHUNK % _HINDSIGHT_CHUNKS != 0
        self._measured += len(queries) if self.chosen else 0
        return ScoredBatch(queries, ranking, views=views, scores=scores, chosen=self.chosen, chosen_only=chosen_only)

    def _curves(self, queries: QueryBatch, scores: NDArray[np.float32]) -> dict[str, MethodResult]:
        """Ranks and work of every candidate order at every budget, by column (``merge@50``)."""
        results = {}
        for name, candidate_order in ORDERS.items():
            order = candidate_order(queries, max(self._budgets))
            ranks, scored = ranks_within(order, scores, queries.targets, self._budgets)
            for index, budget in enumerate(self._budgets):
                results[f"{name}@{budget}"] = MethodResult(ranks[:, index], None, scored[:, index])
        return results

    @contextmanager
    def _timed(self, name: str) -> Iterator[None]:
        began = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] += time.perf_counter() - began
