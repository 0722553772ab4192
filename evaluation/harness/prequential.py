"""Prequential evaluation (test, then train): queries are answered before their events are learned.

The stream is read in time order without leakage: an item exists from its first event on, and the queries of a batch are
answered before any of it is learned or counted. Events that repeat one of the user's last items are not sampled; a
target that is not indexed at the time of the query is a miss for every method. The settings of the baselines are chosen
on queries before the window, so that no method knows more of the future than another.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from hsnn.evaluation.baselines.registry import counting_baselines, default_baselines, ordered_baselines
from hsnn.evaluation.errors import ProtocolError
from hsnn.evaluation.harness.dataset_config import join_config
from hsnn.evaluation.harness.evaluator import Evaluator
from hsnn.evaluation.harness.offline_system import OfflineSystem
from hsnn.evaluation.harness.recorder import Recorder
from hsnn.evaluation.metrics.assignment_churn import AssignmentChurn
from hsnn.evaluation.metrics.run import Run
from hsnn.evaluation.queries.query_sampling import QuerySampler, QueryWindow
from hsnn.streaming.datasets.base import Dataset
from hsnn.streaming.schema.batch import Batch
from hsnn.trainer.config.model import TrainerConfig
from hsnn.trainer.threads import use_threads

__all__ = ["Run", "evaluate"]

# Queries before the window on which the settings of the baselines are chosen, about: their recall is then known to a
# point, and they cost less than a tenth of a run.
TRIAL_QUERIES = 2000

ProgressCallback = Callable[[int, int], None]
"""Called with the number of events learned and the number of all events."""


def evaluate(
    data: Dataset,
    config: TrainerConfig,
    batch_size: int = 512,
    *,
    query_share: float = 0.05,
    query_from: float = 0.5,
    query_to: float = 1.0,
    baselines: Sequence[str] | None = None,
    snapshot_every: float = 600.0,
    snapshot_events: int = 2048,
    report: ProgressCallback | None = None,
) -> Run:
    """Evaluate all methods in one pass over a data set.

    Parameters
    ----------
    data
        Its events in time order.
    config
        Of the trainer; without limits of `trainer.ids`.
    batch_size
        Events of a step, at most.
    query_share
        Share of the events that become queries.
    query_from, query_to
        Window of the queries: shares of the stream up to 1, numbers of events above. The pass ends with the window.
    baselines
        Methods to compare with, of `hsnn.evaluation.baselines.registry.declarations`; None: the cheap ones.
    snapshot_every, snapshot_events
        A version is published after so many stream seconds, but not before so many events.
    report
        Called with the number of events learned, and of the one at which the pass ends.

    Raises
    ------
    ProtocolError
        The window holds no event, a baseline is not known, or `trainer.ids` limits the id tables.
    MissingPackageError
        A baseline needs a package that is not installed.
    """
    use_threads(config.threads)
    if config.ids.limited:
        raise ProtocolError(
            "trainer.ids limits the id tables, so rows are recycled, and the baselines count by row; "
            "judge the model without trainer.ids"
        )
    window = QueryWindow.from_edges(len(data.engagements), query_share, query_from, query_to)
    system = OfflineSystem(config, snapshot_every, snapshot_events)
    names = default_baselines() if baselines is None else ordered_baselines(baselines)
    running = _Pass(system, Evaluator(config, names), window, config.seed)
    times = data.engagements.ts
    for number, batch in enumerate(data.batches(batch_size, join_config(config))):
        if system.learner.events >= window.stop:
            break
        running.step(batch, int(times[min((number + 1) * batch_size, len(times) - 1)]))
        if report is not None:
            report(system.learner.events, window.stop)
    return running.result(names, config.model.budget)


class _Pass:
    """One pass over a stream, batch by batch: queries are answered, then their events are learned."""

    def __init__(self, system: OfflineSystem, evaluator: Evaluator, window: QueryWindow, seed: int) -> None:
        self._system, self._evaluator, self._window = system, evaluator, window
        self._sampler = QuerySampler(window, seed, TRIAL_QUERIES)
        self._recorder, self._churn = Recorder(), AssignmentChurn()
        self._began, self._training, self._evaluating = time.perf_counter(), 0.0, 0.0
        self._predicted: list[NDArray[np.float32]] = []
        self._engaged: list[NDArray[np.float32]] = []

    def step(self, batch: Batch, next_at: int) -> None:
        """Answer the queries of a batch, then learn it; the next one begins at `next_at`, epoch ms."""
        system, evaluator, window = self._system, self._evaluator, self._window
        start = time.perf_counter()
        prepared = system.prepare(batch)
        self._training += time.perf_counter() - start
        evaluator.prepare(batch)
        start = time.perf_counter()
        sampled, history = self._sampler.sample(prepared, system.learner, evaluator.k)
        measured = int(np.searchsorted(sampled.event, window.start))
        evaluator.try_settings(system, sampled.select(slice(0, measured)))
        evaluator.evaluate(system, sampled.select(slice(measured, None)), self._recorder)
        if system.learner.events + prepared.events >= window.start:
            evaluator.freeze(system, batch.watermark, next_at)
        self._evaluating += time.perf_counter() - start
        self._churn.before_version(system.mirror)
        start = time.perf_counter()
        learned = system.learn(prepared)
        self._training += time.perf_counter() - start
        probabilities = learned.report.probabilities
        if prepared.judged is not None and probabilities is not None and system.learner.events > window.start:
            self._predicted.append(probabilities[:, 0])
            self._engaged.append(prepared.judged.labels[:, 0])
        if learned.new_version:
            self._churn.after_version(system.mirror, system.learner.events)
        evaluator.learn(prepared, history, system, learned)

    def result(self, baselines: tuple[str, ...], budget: int) -> Run:
        """Return what was measured, compared with these baselines, with so many items scored per query."""
        system, evaluator, recorder = self._system, self._evaluator, self._recorder
        item_churn, traffic_churn = self._churn.per_100k()
        return Run(
            ranks=recorder.ranks(),
            work=recorder.work(),
            dots=recorder.dots(),
            event=recorder.query_values("event"),
            ts=recorder.query_values("ts"),
            age=recorder.query_values("age"),
            corpus=recorder.query_values("corpus"),
            coverage=recorder.coverage(),
            popular=recorder.popular(),
            sizes=system.sizes(),
            churn=item_churn,
            traffic_churn=traffic_churn,
            baselines=baselines,
            counting=tuple(name for name in counting_baselines() if name in baselines),
            chosen=evaluator.chosen,
            costs=dict(evaluator.seconds),
            budget=budget,
            events=system.learner.events,
            versions=system.versions,
            arrived=system.arrived,
            expired=system.expired,
            seconds=time.perf_counter() - self._began,
            training_seconds=self._training,
            judging_seconds=self._evaluating,
            predicted=np.concatenate(self._predicted) if self._predicted else None,
            engaged=np.concatenate(self._engaged) if self._engaged else None,
        )
